#!/usr/bin/env bash
# Expected: perceptual hashes tell pictures with transparency apart by what one sees.
# Seen:     ImageHash converts to grey by dropping alpha. Black lines on a transparent
#           ground, the usual form of line art and stickers, are black on black to it:
#           average, perceptual, difference and wavelet hash of any such drawing are
#           all zero, colorhash is that of a black page, and the distance of any two
#           is 0. The same drawing on white is 11 to 40 bits away from itself without
#           the ground.
# Matters:  removing near duplicates before training keeps ONE of all transparent
#           drawings, and the re-upload of one of them with a white ground is not
#           found. Put pictures on the ground that training uses before hashing.
# With:     ImageHash 4.3.2, Pillow 13.0.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet imagehash==4.3.2 pillow==13.0.0

cat > check.py <<'PY'
import importlib.metadata
import itertools

import imagehash
from PIL import Image, ImageDraw

for name in ("ImageHash", "pillow"):
    print(name, importlib.metadata.version(name))
INK = (0, 0, 0, 255)


def drawing(number):
    """Black lines on nothing, as a drawing program exports its line layer."""
    page = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    draw = ImageDraw.Draw(page)
    if number == 0:
        draw.ellipse((40, 40, 210, 210), outline=INK, width=8)
    elif number == 1:
        draw.line((10, 250, 240, 20), fill=INK, width=10)
    elif number == 2:
        draw.rectangle((20, 120, 200, 180), fill=INK)
    else:
        draw.polygon((128, 10, 250, 240, 10, 200), outline=INK, width=6)
    return page


def on_white(page):
    return Image.alpha_composite(Image.new("RGBA", page.size, "white"), page)


pages = [drawing(number) for number in range(4)]
for method in ("average_hash", "phash", "dhash", "whash", "colorhash"):
    take = getattr(imagehash, method)
    bare = [take(page) for page in pages]
    seen = [take(on_white(page)) for page in pages]
    pairs = list(itertools.combinations(range(4), 2))
    as_given = max(bare[a] - bare[b] for a, b in pairs)
    as_seen = min(seen[a] - seen[b] for a, b in pairs)
    own = min(a - b for a, b in zip(bare, seen))
    print(f"{method}: {bare[0]} for all; furthest pair {as_given}, on white nearest pair {as_seen}, "
          f"to itself on white at least {own}")
    assert as_given == 0
    if method in ("average_hash", "phash", "dhash"):
        assert as_seen > 8 and own > 8
print("as described: transparent line art is one picture")
PY
venv/bin/python check.py
# Output seen:
#   ImageHash 4.3.2
#   pillow 13.0.0
#   average_hash: 0000000000000000 for all; furthest pair 0, on white nearest pair 21, to itself on white at least 37
#   phash: 0000000000000000 for all; furthest pair 0, on white nearest pair 24, to itself on white at least 32
#   dhash: 0000000000000000 for all; furthest pair 0, on white nearest pair 21, to itself on white at least 11
#   whash: 0000000000000000 for all; furthest pair 0, on white nearest pair 23, to itself on white at least 11
#   colorhash: 38000000000 for all; furthest pair 0, on white nearest pair 0, to itself on white at least 4
#   as described: transparent line art is one picture
