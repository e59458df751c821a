#!/usr/bin/env bash
# Expected: a VAE whose configuration has a `shift_factor` (as newer autoencoders and retrained
#           SDXL ones have) is decoded as latents / scaling_factor + shift_factor, as other
#           pipelines of diffusers do.
# Seen:     StableDiffusionXLPipeline, its image-to-image and its inpainting pipeline never read
#           it: pictures are equal to the bit with shift_factor 0 and 0.5. (A mean per channel,
#           `latents_mean` with `latents_std`, is read when decoding.)
# Matters:  a model that is trained on shifted latents draws with a colour cast in every program
#           that is built on this pipeline, with no warning. Fold the shift into the VAE's own
#           layers before publishing, or give latents_mean and latents_std.
# With:     diffusers 0.42.1, transformers 5.23.0, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet diffusers==0.42.1 transformers==5.23.0 torch==2.13.0 numpy pillow

cat > check.py <<'PY'
import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

print("diffusers", diffusers.__version__, "torch", torch.__version__.split("+")[0])
torch.manual_seed(0)
sides = {"block_out_channels": (8, 16), "norm_num_groups": 4}
vae = AutoencoderKL(
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    sample_size=16,
    **sides,
)
unet = UNet2DConditionModel(
    sample_size=8,
    layers_per_block=1,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=4,
    cross_attention_dim=16,
    addition_embed_type="text_time",
    addition_time_embed_dim=4,
    projection_class_embeddings_input_dim=4 * 6 + 8,
    **sides,
)
text = {
    "prompt_embeds": torch.randn(1, 7, 16),
    "pooled_prompt_embeds": torch.randn(1, 8),
}


def picture(**config):
    """What is drawn with some entries in the VAE's configuration."""
    vae.register_to_config(**config)
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        **text,
        height=16,
        width=16,
        num_inference_steps=2,
        guidance_scale=1.0,
        output_type="pt",
        generator=torch.Generator().manual_seed(0),
    ).images


plain, shifted = picture(shift_factor=0.0), picture(shift_factor=0.5)
by_mean = picture(shift_factor=0.0, latents_mean=[0.5] * 4, latents_std=[1.0] * 4)
print("shift_factor 0.5 changes the picture:", not torch.equal(plain, shifted))
print("latents_mean 0.5 changes the picture:", not torch.equal(plain, by_mean))
assert torch.equal(plain, shifted)
assert not torch.equal(plain, by_mean)
PY
venv/bin/python check.py 2>/dev/null
