#!/usr/bin/env bash
# Expected: A picture that is given to litdata's `optimize` comes out of `StreamingDataset` as it
#           was.
# Seen:     Mode, size and pixels are stored, the palette is not. A palette's picture (GIF, many
#           PNGs) comes back in mode P with Pillow's own palette of greys: every colour is
#           replaced by its number. Transparency of such a picture is gone too. RGB, RGBA, LA and
#           16-bit greys come back exactly.
# Matters:  pixel art, GIFs and optimised PNGs have palettes. Such pictures are trained on as dark
#           noise in the right shapes, under captions that name colours. No message, and whoever
#           looks at the first samples may see none of them. Convert in the function that is
#           given to `optimize`: image.convert("RGBA").
# With:     litdata 0.2.76, Pillow 13.0.0, torch 2.13.0
# Date:     2026-11-29
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet litdata==0.2.76 pillow==13.0.0 torch==2.13.0

cat > check.py <<'PY'
from importlib.metadata import version

import numpy as np
from litdata import StreamingDataset, optimize
from PIL import Image

MODES = ("RGB", "RGBA", "LA", "P")


def picture(mode):
    """A red and a blue half with a yellow square."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :, 0], pixels[32:, :, 2] = 220, 200
    pixels[10:20, 10:20] = (240, 230, 40)
    image = Image.fromarray(pixels)
    return image.quantize(8) if mode == "P" else image.convert(mode)


def read(mode):
    return {"mode": mode, "image": Image.open(f"{mode}.png")}


if __name__ == "__main__":
    print("litdata", version("litdata"), "Pillow", version("pillow"))
    for mode in MODES:
        picture(mode).save(f"{mode}.png")
    optimize(fn=read, inputs=list(MODES), output_dir="packed", chunk_bytes="1MB", num_workers=1)
    off = {}
    for sample in StreamingDataset("packed"):
        before = np.asarray(Image.open(f"{sample['mode']}.png").convert("RGBA"), np.int16)
        after = np.asarray(sample["image"].convert("RGBA"), np.int16)
        off[sample["mode"]] = int(np.abs(before - after).max())
    for mode in MODES:
        print(f"{mode}: largest difference of a pixel {off[mode]} of 255")
    assert [off[mode] for mode in MODES[:3]] == [0, 0, 0], off
    assert off["P"] > 200, off
PY
venv/bin/python check.py 2>&1 | grep -E "^(litdata|RGB|LA|P|Traceback|Assertion)" 
