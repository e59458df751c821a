#!/usr/bin/env bash
# Expected: Adafactor keeps a row and a column of numbers for each weight, so its state is
#           a small part of a percent of a diffusion U-Net.
# Seen:     so it is for linear layers (0.16 % of 1280 x 1280). A convolution [out, in, 3, 3] is
#           factored over its last two axes, the 3 x 3 window: three rows and three columns for
#           each pair of channels, two thirds of the weight. Both in torch's own Adafactor and
#           in that of transformers.
# Matters:  SDXL's U-Net has 0.32 of its 2.57 billion numbers in 3 x 3 convolutions. Their state
#           is 0.21 billion numbers (0.85 GB in float32), beside 3 million of all linear layers:
#           "Adafactor's state costs nothing" is what presets for small cards count on. Give the
#           optimizer convolutions as [out, in * 9], or count two thirds of them.
# With:     torch 2.13.0, transformers 5.23.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet torch==2.13.0 transformers==5.23.0 numpy

cat > check.py <<'PY'
import torch
import transformers
from transformers.optimization import Adafactor

print("torch", torch.__version__.split("+")[0], "transformers", transformers.__version__)


def share(optimizer_type, shape):
    """Numbers of state for each number of a weight."""
    weight = torch.nn.Parameter(torch.randn(shape))
    optimizer = optimizer_type([weight])
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    state = [v for v in optimizer.state[weight].values() if torch.is_tensor(v) and v.dim()]
    return sum(v.numel() for v in state) / weight.numel()


for kind in (torch.optim.Adafactor, Adafactor):
    linear, convolution = share(kind, (1280, 1280)), share(kind, (320, 320, 3, 3))
    print(f"{kind.__module__}: linear {linear:.4f}, convolution {convolution:.4f}")
    assert linear < 0.002
    assert abs(convolution - 2 / 3) < 0.001
PY
venv/bin/python check.py 2>/dev/null
