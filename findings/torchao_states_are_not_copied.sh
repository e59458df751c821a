#!/usr/bin/env bash
# Expected: `state.to("cpu", copy=True)` of an optimizer state is a copy, as of any tensor.
# Seen:     for the states of AdamW8bit, AdamW4bit and AdamWFp8 that are on the CPU already it
#           shares the memory: what is written to the "copy" changes the state, and training
#           on changes the "copy".
# Matters:  who takes a snapshot (a checkpoint that is written in the background, an undo
#           after a spike) gets a state of another moment than the weights beside it, and
#           nothing says so. Copy the inner tensors: __tensor_flatten__, clone each,
#           __tensor_unflatten__.
# With:     torchao 0.18.0, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet torchao==0.18.0 torch==2.13.0 numpy

cat > check.py <<'PY'
import torch
import torchao
from torchao.optim import AdamW4bit, AdamW8bit, AdamWFp8

print("torchao", torchao.__version__.split("+")[0], "torch", torch.__version__.split("+")[0])
plain = torch.ones(4)
assert plain.to("cpu", copy=True).data_ptr() != plain.data_ptr()
for kind in (AdamW8bit, AdamW4bit, AdamWFp8):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(64, 512))
    optimizer = kind([weight])
    weight.grad = torch.randn_like(weight)
    with torch.compiler.set_stance("force_eager"):
        optimizer.step()
    state = optimizer.state[weight]["exp_avg"]
    copy = state.to("cpu", copy=True)
    shared = copy.codes.data_ptr() == state.codes.data_ptr()
    print(f"{kind.__name__}: {'the same memory' if shared else 'a copy'}")
    assert shared
PY
venv/bin/python check.py 2>/dev/null
