#!/usr/bin/env bash
# Expected: `StableDiffusionXLImg2ImgPipeline` flattens a picture with transparency, or refuses it,
#           as it refuses grey with alpha and palettes.
# Seen:     An RGBA picture has four channels, as SDXL's latents have, and is taken for latents:
#           its pixels are noised and denoised as they are, without the VAE's encoder, and decoded
#           to a picture of eight times its width and height that shows something else. No
#           message. The same picture as RGB comes out at its own size.
# Matters:  illustrations with transparent backgrounds are RGBA. 64 x 64 gives 512 x 512 here; at
#           the sizes SDXL is used at, the decoder would have to make 64 times as many pixels as
#           asked for. Flatten before: image.convert("RGBA"), paste on a background, RGB.
# With:     diffusers 0.42.1, transformers 5.23.0, torch 2.13.0, Pillow 13.0.0
# Date:     2026-11-29
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet diffusers==0.42.1 transformers==5.23.0 torch==2.13.0 accelerate==1.15.0 pillow==13.0.0

cat > check.py <<'PY'
import logging

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    UNet2DConditionModel,
)
from PIL import Image

logging.disable(logging.WARNING)
print("diffusers", diffusers.__version__)
torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=16,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=8,
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=8,
    addition_embed_type="text_time", addition_time_embed_dim=8,
    projection_class_embeddings_input_dim=64,
)
vae = AutoencoderKL(
    block_out_channels=(32,) * 4, norm_num_groups=8,
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
)
pipeline = StableDiffusionXLImg2ImgPipeline(
    vae=vae, text_encoder=None, text_encoder_2=None, tokenizer=None, tokenizer_2=None, unet=unet,
    scheduler=EulerDiscreteScheduler(),
)
pipeline.set_progress_bar_config(disable=True)
encoded = []
vae.encoder.register_forward_hook(lambda *_: encoded.append(True))
text, pooled = torch.zeros(1, 3, 16), torch.zeros(1, 16)


def drawn(mode):
    """Size of what comes out, whether the encoder ran; or the error."""
    encoded.clear()
    image = Image.new("RGB", (64, 64), (220, 40, 40))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    try:
        made = pipeline(
            image=image, num_inference_steps=4, strength=0.5, prompt_embeds=text,
            pooled_prompt_embeds=pooled, negative_prompt_embeds=text,
            negative_pooled_prompt_embeds=pooled,
        ).images[0]
    except RuntimeError as error:
        return type(error).__name__, False
    return made.size, bool(encoded)


found = {mode: drawn(mode) for mode in ("RGB", "RGBA", "LA", "P")}
for mode, (size, through) in found.items():
    print(f"{mode} 64 x 64: {size}, through the VAE's encoder: {through}")
assert found["RGB"] == ((64, 64), True), found
assert found["RGBA"] == ((512, 512), False), found
assert found["LA"][0] == found["P"][0] == "RuntimeError", found
PY
venv/bin/python check.py 2>&1 | grep -v "requires torchvision"
