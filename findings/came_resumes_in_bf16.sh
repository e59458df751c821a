#!/usr/bin/env bash
# Expected: CAME with bfloat16 weights goes on after `load_state_dict` as if it had not stopped.
# Seen:     Its state is made in float32. PyTorch's `load_state_dict` casts state to the dtype of
#           the weights, and CAME never casts it back. In bfloat16 an average with beta 0.999
#           cannot move: the steps are less than half of the last bit. Gradients become ten
#           times smaller at the stop: without it the factored second moment follows, and is a
#           fifth lower 300 steps later; with it the moment keeps its value to the last digit,
#           for good. The Adafactor of transformers casts its state back at each step.
# Matters:  CAME and bfloat16 weights are what people take to train SDXL on small cards. A run
#           that was resumed once scales its updates by what gradients were before the stop,
#           without a message. Put the state back to float32 after loading:
#           for s in optimizer.state.values(): s |= {k: v.float() for k, v in s.items()
#           if torch.is_tensor(v)}; for this run that gives back what the averages had.
# With:     came-pytorch 0.1.3, torch 2.13.0
# Date:     2026-11-29
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet came-pytorch==0.1.3 torch==2.13.0 numpy==2.4.6

cat > check.py <<'PY'
import io
from importlib.metadata import version

import torch
from came_pytorch import CAME

print("came-pytorch", version("came-pytorch"), "torch", torch.__version__.split("+")[0])
STOP, END, SHOWN = 100, 400, (99, 150, 300, 399)


def moments(resumed, cure=False):
    """The mean of a factored second moment at some steps, and the dtype it ends with."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(64, 64).bfloat16())
    optimizer, seen = CAME([weight], lr=1e-4), []
    for step in range(END):
        if resumed and step == STOP:
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            optimizer = CAME([weight], lr=1e-4)
            optimizer.load_state_dict(torch.load(file))
            if cure:
                for state in optimizer.state.values():
                    state |= {k: v.float() for k, v in state.items() if torch.is_tensor(v)}
        scale = 1.0 if step < STOP else 0.1
        weight.grad = (scale * torch.randn(64, 64)).bfloat16()
        optimizer.step()
        moment = optimizer.state[weight]["exp_avg_sq_row"]
        if step in SHOWN:
            seen.append(round(moment.float().mean().item(), 5))
    return seen, moment.dtype


for name, arguments in {"not stopped": (False,), "resumed": (True,), "cured": (True, True)}.items():
    print(f"{name}: after steps {SHOWN}: {moments(*arguments)}")
whole, resumed, cured = moments(False), moments(True), moments(True, True)
assert whole[1] == torch.float32 and resumed[1] == torch.bfloat16
assert whole[0][-1] < 0.82 * whole[0][0], whole
assert len(set(resumed[0][1:])) == 1 and resumed[0][-1] > 0.99 * resumed[0][0], resumed
assert cured[1] == torch.float32 and abs(cured[0][-1] - whole[0][-1]) < 1e-3, cured
PY
venv/bin/python check.py
