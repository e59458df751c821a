#!/usr/bin/env bash
# Expected: SDXL's size and crop conditioning works on pixels: original_size
#           (1025, 1025) and (1027, 1027) condition differently in every precision.
# Seen:     the stock pipeline keeps the six numbers in the type of the prompt
#           embeddings. bfloat16 has 8 significant bits: between 512 and 1024 sizes
#           are rounded to 4, above 1024 to 8, so of 4,096 sizes 768 are left, and the
#           pictures for (1025, 1025) and (1027, 1027) are equal to the bit; 1023 is
#           1024. In float16 and float32 they differ. The sinusoids get the rounded
#           size, so this is not the rounding of the network itself.
# Matters:  pictures off the web have sizes such as 1023 x 1447. A trainer that casts
#           time_ids to its weight type, or a preview in bfloat16, teaches and asks for
#           other sizes than the data have; crop offsets above 256 are rounded alike.
#           Keep time_ids in float32: the U-Net takes them so and casts only after the
#           sinusoids.
# With:     diffusers 0.42.1, transformers 5.23.0, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet diffusers==0.42.1 transformers==5.23.0 torch==2.13.0

cat > check.py <<'PY'
import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

print("diffusers", diffusers.__version__, "transformers", transformers.__version__)
torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(2, 4),
    use_linear_projection=True, cross_attention_dim=64, addition_embed_type="text_time",
    addition_time_embed_dim=256, projection_class_embeddings_input_dim=6 * 256 + 32,
)
encoder = CLIPTextModelWithProjection(CLIPTextConfig(
    hidden_size=32, intermediate_size=32, num_attention_heads=2, num_hidden_layers=2,
    vocab_size=99, projection_dim=32,
))
vae = AutoencoderKL(
    block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8,
)
seen = []
unet.add_time_proj.register_forward_pre_hook(lambda module, given: seen.append(given[0].float().tolist()))


def draw(size, dtype):
    """Latents of two steps with fixed noise, and the size the U-Net was told."""
    pipeline = StableDiffusionXLPipeline(
        vae=vae, text_encoder=None, text_encoder_2=encoder, tokenizer=None, tokenizer_2=None,
        unet=unet, scheduler=EulerDiscreteScheduler(),
    ).to(dtype)
    pipeline.set_progress_bar_config(disable=True)
    made = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 8, 8, generator=made).to(dtype)
    words = torch.ones(1, 7, 64, dtype=dtype)
    pooled = torch.ones(1, 32, dtype=dtype)
    drawn = pipeline(
        prompt_embeds=words, pooled_prompt_embeds=pooled, latents=latents, guidance_scale=1.0,
        num_inference_steps=2, original_size=(size, size), output_type="latent",
    ).images
    return drawn, seen[-1][:2]


for dtype in (torch.float32, torch.float16, torch.bfloat16):
    kept = torch.arange(1, 4097).to(dtype).unique().numel()
    (a, told_a), (b, told_b) = draw(1025, dtype), draw(1027, dtype)
    same = torch.equal(a, b)
    print(f"{dtype}: asked 1025 and 1027, told {told_a[0]:.0f} and {told_b[0]:.0f}, "
          f"pictures equal: {same}; {kept} different sizes of 4096")
    assert same == (dtype is torch.bfloat16) and (told_a == told_b) == same
assert kept == 768 and torch.tensor(1023).to(torch.bfloat16) == 1024
print("as described: in bfloat16 neighbouring sizes are one")
PY
HF_HUB_OFFLINE=1 venv/bin/python check.py 2> errors.txt || { cat errors.txt; exit 1; }
# Output seen:
#   diffusers 0.42.1 transformers 5.23.0
#   torch.float32: asked 1025 and 1027, told 1025 and 1027, pictures equal: False; 4096 different sizes of 4096
#   torch.float16: asked 1025 and 1027, told 1025 and 1027, pictures equal: False; 3072 different sizes of 4096
#   torch.bfloat16: asked 1025 and 1027, told 1024 and 1024, pictures equal: True; 768 different sizes of 4096
#   as described: in bfloat16 neighbouring sizes are one
