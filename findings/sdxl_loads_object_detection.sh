#!/usr/bin/env bash
# Expected: loading the classes of SDXL's U-Net, VAE and text encoders loads what these
#           compute with.
# Seen:     it loads scipy.optimize (transformers: matching boxes in a loss for object
#           detection), scipy.stats (diffusers: a schedule of sigmas) and peft, wherever
#           they are installed. Hidden while the classes load, the same weights give
#           the same output to the bit.
# Matters:  a seventh of the CPU time of the imports is spent on what a training of
#           the whole network never calls, in each process of each stage.
# With:     torch 2.13.0, diffusers 0.42.1, transformers 5.23.0, peft 0.21.2, scipy 1.17.1
# Date:     2026-11-29
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 \
    accelerate==1.15.0 peft==0.21.2 scipy==1.17.1
cat > program.py <<'PY'
import hashlib
import os
import sys
import time

hidden = os.environ.get("HIDDEN", "").split()
for name in hidden:
    sys.modules[name] = None  # as if it were not installed
begun = time.process_time()
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

took = time.process_time() - begun
import torch

torch.manual_seed(0)
network = UNet2DConditionModel(
    sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    cross_attention_dim=16, attention_head_dim=4,
)
out = network(torch.ones(1, 4, 8, 8), 10, torch.ones(1, 3, 16)).sample
watched = ("scipy.optimize", "scipy.stats", "peft")
found = [name for name in watched if sys.modules.get(name)]
print(hashlib.sha256(out.detach().numpy().tobytes()).hexdigest()[:16], found)
print(f"CPU seconds: {took:.1f}", file=sys.stderr)
PY
usual=$(venv/bin/python program.py 2> seconds)
tail -n 1 seconds
lean=$(HIDDEN="scipy peft" venv/bin/python program.py 2> seconds)
tail -n 1 seconds
echo "loaded as usual: ${usual#* }, hidden: ${lean#* }"
[[ $usual == *"['scipy.optimize', 'scipy.stats', 'peft']" && $lean == *"[]" ]]
[[ ${usual%% *} == "${lean%% *}" ]]
echo "as described: three libraries that SDXL does not compute with are loaded"
# Output seen:
#   CPU seconds: 5.3
#   CPU seconds: 4.5
#   loaded as usual: ['scipy.optimize', 'scipy.stats', 'peft'], hidden: []
#   as described: three libraries that SDXL does not compute with are loaded
