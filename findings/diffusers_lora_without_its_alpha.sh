#!/usr/bin/env bash
# Expected: An SDXL LoRA that diffusers saves and loads again has the strength it was trained with.
# Seen:     Twice alpha is lost without a warning, and then the rank is taken for it: an adapter of
#           rank 8 and alpha 4 comes back at twice its strength.
#           - `StableDiffusionXLPipeline.save_lora_weights(folder, unet_lora_layers=...)`, given
#             what `get_peft_model_state_dict` returns, writes neither alpha nor rank, unless
#             `unet_lora_adapter_metadata` is given too.
#           - `unet.load_lora_adapter(FILE)` does not look at what the file says, not even in
#             one that `unet.save_lora_adapter` wrote. With the folder and `weight_name` it does.
# Matters:  alpha at half of the rank is what many guides for SDXL tell people to take. Previews
#           while it trains are right; what is published or loaded later is twice as strong and
#           looks overtrained.
# With:     diffusers 0.42.1, peft 0.21.2, transformers 5.23.0, torch 2.13.0
# Date:     2026-11-29
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet diffusers==0.42.1 peft==0.21.2 transformers==5.23.0 torch==2.13.0 accelerate==1.15.0

cat > check.py <<'PY'
import logging

import diffusers
import peft
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

logging.disable(logging.WARNING)
print("diffusers", diffusers.__version__, "peft", peft.__version__)
RANK, ALPHA, FILE = 8, 4, "pytorch_lora_weights.safetensors"


def network():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=8,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=8,
    )


@torch.no_grad()
def output(net):
    generator = torch.Generator().manual_seed(1)
    latents, text = (torch.randn(size, generator=generator) for size in ((1, 4, 8, 8), (1, 3, 16)))
    return net(latents, torch.tensor([5]), text).sample


def by_pipeline(folder):
    """What `StableDiffusionXLPipeline.load_lora_weights` does with the U-Net's part."""
    net = network()
    found = StableDiffusionXLPipeline.lora_state_dict(f"{folder}/{FILE}", return_lora_metadata=True)
    StableDiffusionXLPipeline.load_lora_into_unet(*found[:2], net, metadata=found[2])
    return net


def by_network(*place, **more):
    net = network()
    net.load_lora_adapter(*place, prefix=None, **more)
    return net


tuned = network()
targets = ["to_q", "to_k", "to_v", "to_out.0"]
config = LoraConfig(r=RANK, lora_alpha=ALPHA, init_lora_weights=False, target_modules=targets)
tuned.add_adapter(config)
trained = output(tuned)
changed = (trained - output(network())).abs().max().item()
layers = get_peft_model_state_dict(tuned)
save = StableDiffusionXLPipeline.save_lora_weights
save("plain", unet_lora_layers=layers)
save("told", unet_lora_layers=layers, unet_lora_adapter_metadata=config.to_dict())
tuned.save_lora_adapter("own")
loaded = {
    "pipeline, saved plainly": (by_pipeline("plain"), RANK),
    "pipeline, saved with metadata": (by_pipeline("told"), ALPHA),
    "network, its own file": (by_network(f"own/{FILE}"), RANK),
    "network, its own folder": (by_network("own", weight_name=FILE), ALPHA),
}
for name, (net, expected) in loaded.items():
    (found,) = net.peft_config.values()
    off = (output(net) - trained).abs().max().item()
    print(f"{name}: alpha {found.lora_alpha}, off by {off:.4f} (the adapter's change: {changed:.4f})")
    assert found.lora_alpha == expected, name
    assert off == 0 if expected == ALPHA else off > 0.5 * changed, name
PY
venv/bin/python check.py 2>&1 | grep -v "requires torchvision"
