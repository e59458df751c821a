#!/usr/bin/env bash
# Expected: with rank_dropout 0 and module_dropout 0 a LoHa or LoKr adapter uses no random
#           numbers in a forward pass, as LoRA and OFT do not.
# Seen:     each adapted layer draws one number from the global generator in every forward
#           pass of training, to compare it with a dropout of 0. LoRA and OFT draw none.
# Matters:  noise, timesteps and caption dropout that come from the same generator differ
#           between a LoRA run and a LoHa run of the same seed, and gradient checkpointing
#           or one more forward pass (a validation in train mode) shifts all that follow.
#           Draw what must be comparable from generators of your own.
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
from peft import LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, get_peft_model

print("peft", peft.__version__, "torch", torch.__version__.split("+")[0])


def draws(config):
    """Whether a forward and backward pass in train mode moves the global generator."""
    net = torch.nn.Sequential()
    net.add_module("layer", torch.nn.Linear(8, 8))
    tuned = get_peft_model(net, config).train()
    before = torch.random.get_rng_state()
    tuned(torch.ones(1, 8)).sum().backward()
    return not torch.equal(before, torch.random.get_rng_state())


no_dropout = {"rank_dropout": 0.0, "module_dropout": 0.0, "target_modules": ["layer"]}
seen = {
    "LoRA": draws(LoraConfig(r=2, lora_dropout=0.0, target_modules=["layer"])),
    "LoHa": draws(LoHaConfig(r=2, **no_dropout)),
    "LoKr": draws(LoKrConfig(r=2, **no_dropout)),
    "OFT": draws(OFTConfig(r=0, oft_block_size=4, module_dropout=0.0, target_modules=["layer"])),
}
for name, drew in seen.items():
    print(f"{name}: {'draws' if drew else 'draws nothing'}")
assert seen == {"LoRA": False, "LoHa": True, "LoKr": True, "OFT": False}, seen
PY
venv/bin/python check.py
