#!/usr/bin/env bash
# Expected: Image.save("x.jxl") writes the picture that is in memory.
# Seen:     a picture opened from a JPEG and changed in place (drawn upon, pasted
#           into, thumbnail()) is saved as the JPEG it came from: full size, nothing
#           covered, no alpha. The plug-in transcodes the file on disk losslessly as
#           long as the object still says format "JPEG", whatever was done since.
#           The one warning is about "JPEG reconstruction". save(...,
#           lossless_jpeg=False) or im.copy().save(...) writes the pixels.
# Matters:  scripts that paint over signatures or watermarks, shrink pictures to the
#           training size or paste a mask before they archive a dataset as JPEG XL
#           keep exactly what they meant to remove, and the check of the size on the
#           object in memory passes.
# With:     pillow-jxl-plugin 1.3.8, Pillow 13.0.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet pillow-jxl-plugin==1.3.8 pillow==13.0.0

cat > check.py <<'PY'
import importlib.metadata
import warnings

import pillow_jxl  # noqa: F401  registers the format
from PIL import Image, ImageDraw

warnings.simplefilter("ignore")
for name in ("pillow-jxl-plugin", "pillow"):
    print(name, importlib.metadata.version(name))
Image.new("RGB", (640, 480), (200, 30, 40)).save("red.jpg", quality=95)


def saved(change, copy=False, **options):
    """What a reader of the .jxl finds, after `change` was made in memory."""
    picture = Image.open("red.jpg")
    change(picture)
    memory = picture.size, picture.mode, picture.getpixel((5, 5))
    (picture.copy() if copy else picture).save("out.jxl", **options)
    file = Image.open("out.jxl")
    return memory, (file.size, file.mode, file.getpixel((5, 5)))


def cover(picture):
    ImageDraw.Draw(picture).rectangle((0, 0, 640, 480), fill=(0, 0, 255))


def near(colour, other):
    return all(abs(a - b) < 12 for a, b in zip(colour, other))


changes = {
    "thumbnail((64, 64))": lambda picture: picture.thumbnail((64, 64)),
    "rectangle over all, blue": cover,
    "paste of a blue square": lambda picture: picture.paste((0, 0, 255), (0, 0, 99, 99)),
    "putalpha(0)": lambda picture: picture.putalpha(0),
}
for name, change in changes.items():
    memory, file = saved(change)
    print(f"{name}: in memory {memory}, in the .jxl {file}")
    assert memory != file
    assert file[:2] == ((640, 480), "RGB") and near(file[2], (200, 30, 40))

for label, options in (("lossless_jpeg=False", {"lossless_jpeg": False}), ("copy()", {"copy": True})):
    memory, file = saved(cover, **options)
    print(f"with {label}: in memory {memory}, in the .jxl {file}")
    assert near(file[2], (0, 0, 255))
print("as described: changes in place are not in the file")
PY
venv/bin/python check.py
# Output seen:
#   pillow-jxl-plugin 1.3.8
#   pillow 13.0.0
#   thumbnail((64, 64)): in memory ((64, 48), 'RGB', (200, 30, 39)), in the .jxl ((640, 480), 'RGB', (200, 30, 39))
#   rectangle over all, blue: in memory ((640, 480), 'RGB', (0, 0, 255)), in the .jxl ((640, 480), 'RGB', (200, 30, 39))
#   paste of a blue square: in memory ((640, 480), 'RGB', (0, 0, 255)), in the .jxl ((640, 480), 'RGB', (200, 30, 39))
#   putalpha(0): in memory ((640, 480), 'RGBA', (200, 30, 39, 0)), in the .jxl ((640, 480), 'RGB', (200, 30, 39))
#   with lossless_jpeg=False: in memory ((640, 480), 'RGB', (0, 0, 255)), in the .jxl ((640, 480), 'RGB', (0, 0, 255))
#   with copy(): in memory ((640, 480), 'RGB', (0, 0, 255)), in the .jxl ((640, 480), 'RGB', (0, 0, 255))
#   as described: changes in place are not in the file
