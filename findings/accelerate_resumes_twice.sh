#!/usr/bin/env bash
# Expected: with automatic checkpoint names, load_state() takes the newest state, and
#           what is saved after it is numbered on; total_limit drops the oldest.
# Seen:     load_state() sets the counter back to 0. The resumed run writes
#           checkpoint_0, checkpoint_1, ... below the checkpoint it came from, so the
#           next load_state() takes the state of before the FIRST stop again, and
#           total_limit deletes the new work and keeps the old. Nothing warns.
# Matters:  a long SDXL run that is stopped twice silently loses everything between
#           the two stops, and does so again at every further stop. After load_state,
#           set accelerator.project_configuration.iteration to the loaded number + 1.
# With:     accelerate 1.15.0, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet accelerate==1.15.0 torch==2.13.0

cat > check.py <<'PY'
import logging
import os
import sys

import accelerate
import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

logging.disable(logging.WARNING)
MEND = "--mend" in sys.argv
folder = "run-mended" if MEND else "run"


def part(steps, resume):
    """One life of a training that counts its steps in its only weight."""
    torch.manual_seed(0)
    config = ProjectConfiguration(project_dir=folder, automatic_checkpoint_naming=True, total_limit=2)
    accelerator = Accelerator(cpu=True, project_config=config)
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    model = accelerator.prepare(model)
    if resume:
        accelerator.load_state()
        if MEND:
            newest = max(int(name.split("_")[1]) for name in os.listdir(folder + "/checkpoints"))
            accelerator.project_configuration.iteration = newest + 1
    start = int(model.weight.item())
    for _ in range(steps):
        model.weight.data += 1
        accelerator.save_state()
    kept = sorted(os.listdir(folder + "/checkpoints"))
    print(f"began at step {start}, ended at step {int(model.weight.item())}, kept {kept}")
    return start


starts = [part(10, False), part(5, True), part(5, True), part(1, True)]
if MEND:
    assert starts == [0, 10, 15, 20], starts
    print("with the counter set by hand the run goes on")
else:
    print("accelerate", accelerate.__version__, "torch", torch.__version__.split("+")[0])
    assert starts == [0, 10, 10, 10], starts
    print("as described: every resumption begins at the first stop")
PY
venv/bin/python check.py
venv/bin/python check.py --mend
# Output seen:
#   began at step 0, ended at step 10, kept ['checkpoint_8', 'checkpoint_9']
#   began at step 10, ended at step 15, kept ['checkpoint_4', 'checkpoint_9']
#   began at step 10, ended at step 15, kept ['checkpoint_4', 'checkpoint_9']
#   began at step 10, ended at step 11, kept ['checkpoint_0', 'checkpoint_9']
#   accelerate 1.15.0 torch 2.13.0
#   as described: every resumption begins at the first stop
#   began at step 0, ended at step 10, kept ['checkpoint_8', 'checkpoint_9']
#   began at step 10, ended at step 15, kept ['checkpoint_13', 'checkpoint_14']
#   began at step 15, ended at step 20, kept ['checkpoint_18', 'checkpoint_19']
#   began at step 20, ended at step 21, kept ['checkpoint_19', 'checkpoint_20']
#   with the counter set by hand the run goes on
