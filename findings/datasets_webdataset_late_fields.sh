#!/usr/bin/env bash
# Expected: load_dataset("webdataset") gives every sample all that its files hold, with
#           None where a sample lacks a field; fields that do not fit are an error.
# Seen:     the columns are those of the first 5 samples. Whatever comes later is dropped
#           without a word: a .txt that the sixth sample has first, and keys inside
#           .json (rating, score) that the first five do not have. With a rating in one
#           of the first five the same tar gives all of them. (Files that only some of
#           the first five have are refused: the check, too, ends there.)
# Matters:  booru metadata are uneven: ratings, scores, artists or natural-language
#           captions are often missing for the first posts of a shard. The whole column
#           is gone then for millions of samples, filters by rating find nothing to
#           leave out, and nothing says so. Write every key into every sample, if
#           need be empty.
# With:     datasets 5.2.0, Pillow 13.0.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet datasets==5.2.0 pillow==13.0.0

cat > check.py <<'PY'
import io
import json
import tarfile

import datasets
from PIL import Image

datasets.disable_progress_bars()
print("datasets", datasets.__version__)
SAMPLES = 12


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def load(name, has_rating, has_caption):
    """Ratings and captions loaded from a tar in which these samples have them."""
    with tarfile.open(name + ".tar", "w") as tar:
        for number in range(SAMPLES):
            picture = io.BytesIO()
            Image.new("RGB", (8, 8), (number, 0, 0)).save(picture, "PNG")
            known = {"tags": ["1girl", "solo"]}
            if number in has_rating:
                known["rating"] = "explicit"
            add(tar, f"{number:03}.png", picture.getvalue())
            add(tar, f"{number:03}.json", json.dumps(known).encode())
            if number in has_caption:
                add(tar, f"{number:03}.txt", b"a girl stands on a hill")
    loaded = datasets.load_dataset("webdataset", data_files=name + ".tar", split="train", cache_dir=name)
    rows = loaded.remove_columns("png").to_list()
    ratings = sum(row["json"].get("rating") == "explicit" for row in rows)
    captions = sum(bool(row.get("txt")) for row in rows)
    print(f"{name}: {len(has_rating)} ratings and {len(has_caption)} captions written, "
          f"{ratings} and {captions} of {len(rows)} samples loaded, columns {sorted(loaded.column_names)}")
    return ratings, captions


everybody, from_4, from_5 = range(SAMPLES), range(4, SAMPLES), range(5, SAMPLES)
assert load("all", everybody, everybody) == (12, 12)
assert load("rating-from-the-fifth", from_4, everybody) == (8, 12)
assert load("rating-from-the-sixth", from_5, everybody) == (0, 12)
assert load("caption-from-the-sixth", everybody, from_5) == (12, 0)
print("as described: what the first 5 samples lack is dropped from all")
PY
HF_HOME="$work/home" HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 venv/bin/python check.py
# Output seen:
#   datasets 5.2.0
#   all: 12 ratings and 12 captions written, 12 and 12 of 12 samples loaded, columns ['__key__', '__url__', 'json', 'png', 'txt']
#   rating-from-the-fifth: 8 ratings and 12 captions written, 8 and 12 of 12 samples loaded, columns ['__key__', '__url__', 'json', 'png', 'txt']
#   rating-from-the-sixth: 7 ratings and 12 captions written, 0 and 12 of 12 samples loaded, columns ['__key__', '__url__', 'json', 'png', 'txt']
#   caption-from-the-sixth: 12 ratings and 7 captions written, 12 and 0 of 12 samples loaded, columns ['__key__', '__url__', 'json', 'png']
#   as described: what the first 5 samples lack is dropped from all
