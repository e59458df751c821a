#!/usr/bin/env bash
# Expected: a DoRA adapter on a layer with a row of zeros starts as the identity, as LoRA does.
# Seen:     DoRA divides each row by its norm. A row of zeros gives 0/0: the layer's output is
#           NaN there before the first step, and after one backward pass every gradient of
#           the adapter is NaN, not only that row's. LoRA on the same layer is fine.
# Matters:  zero rows are usual in diffusion models: output layers that start at zero
#           (ControlNet, AdaLN), channels added for inpainting, pruned networks. The loss is
#           NaN at step 0 and the message names no layer. Leave such layers out of DoRA's
#           targets; look for them with weight.flatten(1).norm(dim=1) == 0.
# With:     peft 0.21.2, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet peft==0.21.2 torch==2.13.0

cat > check.py <<'PY'
import peft
import torch
from peft import LoraConfig, get_peft_model

print("peft", peft.__version__, "torch", torch.__version__.split("+")[0])


def faults(dora):
    """NaN among the eight outputs of a new adapter, and how many of its tensors get NaN."""
    torch.manual_seed(0)
    net = torch.nn.Sequential()
    net.add_module("layer", torch.nn.Linear(8, 8))
    with torch.no_grad():
        net.layer.weight[3] = 0
    tuned = get_peft_model(net, LoraConfig(r=2, target_modules=["layer"], use_dora=dora))
    output = tuned(torch.ones(1, 8))
    output[0, 0].backward()
    gradients = [p.grad for p in tuned.parameters() if p.grad is not None]
    return int(output.isnan().sum()), sum(bool(g.isnan().any()) for g in gradients), len(gradients)


for dora in (False, True):
    outputs, broken, tensors = faults(dora)
    print(f"{'DoRA' if dora else 'LoRA'}: {outputs} of 8 outputs NaN, {broken} of {tensors} gradients")
assert faults(False)[:2] == (0, 0)
outputs, broken, tensors = faults(True)
assert outputs == 1 and broken >= 1, (outputs, broken, tensors)
PY
venv/bin/python check.py
