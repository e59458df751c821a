#!/usr/bin/env bash
# Expected: load_dataset("imagefolder") on a folder whose subfolders each have their
#           metadata.jsonl gives the same rows in the same order on every machine and
#           in every run, with the columns of all files or an error.
# Seen:     two Python processes disagree. The metadata files are kept in a Python set, so
#           it is left to chance which comes first, and with it the order of the rows
#           and the columns: those of that one file. Other files' columns are dropped
#           without a word, so a run has score or rating or neither. The cache then
#           hides it: it keeps the first answer until it is deleted.
# Matters:  a folder an artist or a source, each with its metadata, is how sets grow. A
#           fixed shuffle seed, a split into training and hold-out by position, or
#           caches keyed by index differ between two machines with equal files, and
#           captions or ratings come and go. One metadata file at the top avoids it.
# With:     datasets 5.2.0, Pillow 13.0.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet datasets==5.2.0 pillow==13.0.0

cat > make.py <<'PY'
import json
import pathlib

from PIL import Image

columns = {
    "even": {"artist_a": ["tags", "score"], "artist_b": ["tags", "score"], "artist_c": ["tags", "score"]},
    "uneven": {"artist_a": ["tags", "score"], "artist_b": ["tags", "rating"], "artist_c": ["tags"]},
}
for name, artists in columns.items():
    for artist, keys in artists.items():
        folder = pathlib.Path(name, artist)
        folder.mkdir(parents=True)
        lines = []
        for number in range(2):
            Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
            row = {key: f"{key} of {artist}" for key in keys}
            lines.append(json.dumps({"file_name": f"{number}.png", **row}))
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
PY
cat > load.py <<'PY'
import sys

import datasets

datasets.disable_progress_bars()
rows = datasets.load_dataset("imagefolder", data_dir=sys.argv[1], split="train", cache_dir=sys.argv[2])
artists = [row["tags"].split("_")[-1] for row in rows.remove_columns("image").to_list()]
print(" ".join(artists), "| columns:", " ".join(sorted(rows.column_names)))
PY
export HF_HOME="$work/home" HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
venv/bin/python make.py
venv/bin/python -c 'import datasets; print("datasets", datasets.__version__)'
for name in even uneven; do
  for run in 1 2 3 4 5 6 7 8; do
    venv/bin/python load.py "$name" "cache-$name-$run" >> "$name.txt"
  done
  echo "$name metadata files, 8 processes with fresh caches (times, artist of each row, columns):"
  sort "$name.txt" | uniq -c
done
for again in 1 2 3; do
  venv/bin/python load.py uneven cache-uneven-1 >> cached.txt
done
test "$(sort -u even.txt | wc -l)" -gt 1
test "$(sort -u uneven.txt | sed 's/.*columns/columns/' | sort -u | wc -l)" -gt 1
test "$(sort -u cached.txt | wc -l)" -eq 1
echo "as described: the order of rows, and the columns, are left to chance"
# Output seen:
#   datasets 5.2.0
#   even metadata files, 8 processes with fresh caches (times, artist of each row, columns):
#         2 a a c c b b | columns: image score tags
#         2 b b a a c c | columns: image score tags
#         1 c c a a b b | columns: image score tags
#         3 c c b b a a | columns: image score tags
#   uneven metadata files, 8 processes with fresh caches (times, artist of each row, columns):
#         1 a a b b c c | columns: image score tags
#         2 a a c c b b | columns: image score tags
#         2 b b a a c c | columns: image rating tags
#         3 c c a a b b | columns: image tags
#   as described: the order of rows, and the columns, are left to chance
