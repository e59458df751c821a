#!/usr/bin/env bash
# Expected: Prodigy finds its step size within some tens of steps, with bfloat16 weights
#           a little less exactly; a learning-rate warm-up only delays it by its length.
# Seen:     with bfloat16 weights the estimate d stays near its start, 1e-6, for hundreds
#           of steps: updates of that size are lost in rounding, weights that do not
#           move give no distance to estimate from, and so d does not grow. With
#           slice_p=1 (the default) a network that has its step size after 20 steps in
#           float32 needs ten times as many or does not find it within 600; with a
#           warm-up of 100 steps 47 become 280 and more. With d0=1e-4 bfloat16 finds it
#           as fast as float32.
# Matters:  "Prodigy, bf16, warm-up" is a usual recipe for SDXL. Nothing is trained for
#           hundreds of steps: the loss is flat without a warning, and a short LoRA run
#           may end before it begins. Look at d, raise d0, or keep weights in float32.
# With:     prodigyopt 1.1.2, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet prodigyopt==1.1.2 torch==2.13.0

cat > check.py <<'PY'
import importlib.metadata

import torch
from prodigyopt import Prodigy

for name in ("prodigyopt", "torch"):
    print(name, importlib.metadata.version(name).split("+")[0])
torch.set_num_threads(1)


def estimates(dtype, warm_up, seed, steps=300, **options):
    """Prodigy's d after every step of a linear layer that learns to copy."""
    torch.manual_seed(seed)
    net = torch.nn.Linear(64, 64).to(dtype)
    optimizer = Prodigy(net.parameters(), lr=1.0, **options)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / max(1, warm_up)) if warm_up else 1.0)
    found = []
    for _ in range(steps):
        given = torch.randn(16, 64).to(dtype)
        optimizer.zero_grad()
        (net(given) - given).float().square().mean().backward()
        optimizer.step()
        rate.step()
        found.append(float(optimizer.param_groups[0]["d"]))
    return found


def arrival(found):
    """The first step with d above 1e-3, a tenth of where it ends."""
    return next((step for step, d in enumerate(found, 1) if d > 1e-3), None)


for warm_up in (0, 100):
    for seed in (0, 1, 2):
        full = arrival(estimates(torch.float32, warm_up, seed))
        half = arrival(estimates(torch.bfloat16, warm_up, seed, steps=600))
        early = arrival(estimates(torch.bfloat16, warm_up, seed, d0=1e-4))
        print(f"warm-up {warm_up}, seed {seed}: d above 1e-3 at step {full} in float32, {half} in bfloat16, {early} with d0=1e-4")
        assert full is not None and full < 60
        assert half is None or half > 4 * full
        assert early is not None and early < full + 10
print("as described: bfloat16 weights keep Prodigy at its start")
PY
venv/bin/python check.py
# Output seen:
#     cpu = _conversion_method_template(device=torch.device("cpu"))
#   prodigyopt 1.1.2
#   torch 2.13.0
#   warm-up 0, seed 0: d above 1e-3 at step 19 in float32, 195 in bfloat16, 8 with d0=1e-4
#   warm-up 0, seed 1: d above 1e-3 at step 20 in float32, 374 in bfloat16, 9 with d0=1e-4
#   warm-up 0, seed 2: d above 1e-3 at step 20 in float32, None in bfloat16, 9 with d0=1e-4
#   warm-up 100, seed 0: d above 1e-3 at step 47 in float32, 283 in bfloat16, 48 with d0=1e-4
#   warm-up 100, seed 1: d above 1e-3 at step 47 in float32, 531 in bfloat16, 49 with d0=1e-4
#   warm-up 100, seed 2: d above 1e-3 at step 47 in float32, None in bfloat16, 48 with d0=1e-4
#   as described: bfloat16 weights keep Prodigy at its start
