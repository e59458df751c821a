#!/usr/bin/env bash
# Expected: saving the same tensors with the same metadata gives the same bytes,
#           as safetensors sorts the tensors itself; a hash then tells models apart.
# Seen:     the entries of __metadata__ are written in a random order, another one
#           in every process: equal models, different files and hashes. Tensors
#           alone, or one metadata entry, are stable. Neither a sorted dict nor
#           PYTHONHASHSEED helps.
# Matters:  model-spec and training metadata (title, resolution, prediction type,
#           ...) are what SDXL files carry. A retraining that is exact to the bit,
#           or saving twice, looks like another model to DVC, git-lfs, registries
#           and to whoever compares SHA-256. Hash the tensors, or put all metadata
#           as JSON into one entry.
# With:     safetensors 0.8.0, numpy 2.2.6
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet safetensors==0.8.0 numpy==2.2.6

cat > save.py <<'PY'
import sys

import numpy as np
from safetensors.numpy import save_file

keys = ["architecture", "author", "date", "prediction_type", "resolution", "title"]
metadata = {"modelspec." + key: key for key in keys[: int(sys.argv[1])]}
tensors = {"unet.b": np.ones((2, 3), "float32"), "unet.a": np.zeros(4, "float16")}
save_file(tensors, sys.argv[2], metadata=metadata)
PY

for entries in 0 1 6; do
  for run in 1 2 3 4 5 6 7 8; do
    PYTHONHASHSEED=0 venv/bin/python save.py "$entries" "$entries-$run.safetensors"
  done
  sha256sum "$entries"-*.safetensors | cut -d' ' -f1 | sort -u | wc -l > "$entries.count"
  echo "$entries metadata entries: 8 processes wrote $(cat "$entries.count") different file(s)"
done
venv/bin/python - <<'PY'
import importlib.metadata
import pathlib

from safetensors import safe_open

print("safetensors", importlib.metadata.version("safetensors"))
orders = set()
for path in sorted(pathlib.Path().glob("6-*.safetensors")):
    raw = path.read_bytes()
    header = raw[8 : 8 + int.from_bytes(raw[:8], "little")].decode()
    assert '"__metadata__"' in header
    names = [part.split('"')[0] for part in header.split("modelspec.")[1:]]
    orders.add(tuple(names))
    with safe_open(path, "np") as opened:
        assert len(opened.metadata()) == 6
assert int(pathlib.Path("0.count").read_text()) == 1
assert int(pathlib.Path("1.count").read_text()) == 1
assert len(orders) > 1 and int(pathlib.Path("6.count").read_text()) == len(orders)
print("as described: equal content, other bytes in other processes")
PY
# Output seen:
#   0 metadata entries: 8 processes wrote 1 different file(s)
#   1 metadata entries: 8 processes wrote 1 different file(s)
#   6 metadata entries: 8 processes wrote 8 different file(s)
#   safetensors 0.8.0
#   as described: equal content, other bytes in other processes
