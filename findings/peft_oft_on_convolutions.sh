#!/usr/bin/env bash
# Expected: a new OFT adapter is the identity (its rotations begin at zero), on the
#           convolutions it supports as on linear layers, and merging it changes
#           nothing but the speed.
# Seen:     on every convolution larger than 1x1 a new OFT adapter changes the output:
#           the input is unfolded, rotated and folded back, and folding adds up
#           overlapping windows, so a pixel counts as often as windows hold it: 9
#           times inside a 3x3 convolution, fewer at the border.
#           The merged layer is right (identity), the live one is not: what is
#           trained is not what is merged. 1x1 convolutions and linear layers are fine.
# Matters:  SDXL's U-Net is full of 3x3 convolutions, and "all layers" is a usual target
#           for style adapters. The first loss is already ruined, training learns to
#           undo a factor of nine, and the merged checkpoint then has this undoing
#           without the fault. Leave convolutions above 1x1 out of OFT's targets.
# With:     peft 0.21.2, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet peft==0.21.2 torch==2.13.0

cat > check.py <<'PY'
import copy

import peft
import torch
from peft import BOFTConfig, LoKrConfig, LoraConfig, OFTConfig, get_peft_model

print("peft", peft.__version__, "torch", torch.__version__.split("+")[0])


def new_adapter(layer, config, picture):
    """Largest change of the output by an untrained adapter: live, and merged."""
    net = torch.nn.Sequential()
    net.add_module("layer", layer)
    net = net.eval()
    with torch.no_grad():
        before = net(picture)
        tuned = get_peft_model(copy.deepcopy(net), config).eval()
        live = (tuned(picture) - before).abs().max().item()
        tuned.merge_adapter()
        merged = (tuned(picture) - before).abs().max().item()
    return live, merged, before.abs().max().item()


torch.manual_seed(0)
picture = torch.randn(1, 16, 12, 12)
target = {"target_modules": ["layer"]}
oft = OFTConfig(r=0, oft_block_size=4, **target)
conv = torch.nn.Conv2d
layers = {
    "1x1": conv(16, 16, 1), "3x3": conv(16, 16, 3, padding=1),
    "3x3, stride 2": conv(16, 16, 3, stride=2, padding=1), "5x5": conv(16, 16, 5, padding=2),
}
for name, layer in layers.items():
    live, merged, size = new_adapter(layer, oft, picture)
    print(f"OFT, {name}: live {live:.3f}, merged {merged:.3f}, output up to {size:.3f}")
    assert merged < 1e-4
    assert (live < 1e-4) if name == "1x1" else (live > size)
others = {
    "LoRA": LoraConfig(r=4, **target), "LoKr": LoKrConfig(r=4, **target),
    "BOFT": BOFTConfig(boft_block_size=4, **target),
}
for name, config in others.items():
    live, merged, size = new_adapter(layers["3x3"], config, picture)
    print(f"{name}, 3x3: live {live:.3f}, merged {merged:.3f}")
    assert max(live, merged) < 1e-4

# One weight of 1 in the middle of the kernel: the layer copies its input. How often?
copying = conv(4, 4, 3, padding=1, bias=False)
torch.nn.init.dirac_(copying.weight)
net = torch.nn.Sequential()
net.add_module("layer", copying)
with torch.no_grad():
    counted = get_peft_model(net, oft).eval()(torch.ones(1, 4, 8, 8))
print("a copying 3x3 layer, given ones, returns up to", counted.max().item())
assert abs(counted.max().item() - 9) < 1e-3
print("as described: overlapping windows are added up")
PY
venv/bin/python check.py
# Output seen:
#   peft 0.21.2 torch 2.13.0
#   OFT, 1x1: live 0.000, merged 0.000, output up to 2.323
#   OFT, 3x3: live 5.989, merged 0.000, output up to 1.897
#   OFT, 3x3, stride 2: live 4.999, merged 0.000, output up to 1.822
#   OFT, 5x5: live 9.704, merged 0.000, output up to 2.492
#   LoRA, 3x3: live 0.000, merged 0.000
#   LoKr, 3x3: live 0.000, merged 0.000
#   BOFT, 3x3: live 0.000, merged 0.000
#   a copying 3x3 layer, given ones, returns up to 9.0
#   as described: overlapping windows are added up
