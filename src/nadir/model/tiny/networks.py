"""The tiny SDXL: its architecture at a ten-thousandth of its size, made from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

from nadir.compute.threads import one_thread
from nadir.data.vocabulary import load_vocabulary
from nadir.ground.errors import NadirError
from nadir.model.checkpoint.portable import make_portable
from nadir.model.checkpoint.scheduler import STOCK_NOISE, stock_scheduler
from nadir.model.sdxl.progress_bars import hide_progress_bars
from nadir.model.tiny.text import build_text_encoder
from nadir.model.tiny.tokenizer import build_tokenizer
from nadir.model.tiny.vae_training import LATENT_CHANNELS, build_vae, train_vae

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nadir.config.base_model import TinyParams

_IMAGE_PX = 64  # what stock programs draw when no size is asked for
_TIME_ID_CHANNELS = 32
_GROUPS = 8
_BRANCH_ENDS = (".conv2", ".proj_out", "conv_out")


def make_tiny(
    folder: Path, params: TinyParams, *, on_step: Callable[[str], None] | None = None
) -> None:
    """Make the tiny SDXL and write it as a diffusers folder.

    The VAE is trained on drawn pictures; the U-Net is untrained; the text encoders are frozen and
    made for the shipped booru vocabulary. Equal parameters give equal files.

    Args:
        folder: Where to write; made if missing.
        params: Sizes and seed.
        on_step: Called after each VAE step with a note on the loss.

    Raises:
        NadirError: The sizes do not fit together.
    """
    check_sizes(params)
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(params.seed)
        pipeline = _assemble(params)
        train_vae(pipeline.vae, params, on_step=on_step)
    hide_progress_bars()
    pipeline.save_pretrained(folder, safe_serialization=True)
    make_portable(folder)


def check_sizes(params: TinyParams) -> None:
    """Refuse sizes that no SDXL can have.

    Raises:
        NadirError: What does not fit.
    """
    layers, channels = params.unet_transformer_layers, params.unet_channels
    rules = {
        "unet_transformer_layers needs one entry per entry of unet_channels": len(layers)
        == len(channels),
        "the last entry of unet_transformer_layers must be at least 1, since the middle of an "
        "SDXL U-Net has attention": bool(layers) and layers[-1] >= 1,
        "unet_channels must be multiples of attention_head_dim and of 8": all(
            c % params.attention_head_dim == 0 and c % _GROUPS == 0 for c in channels
        ),
        "vae_channels must be multiples of 4": all(c % 4 == 0 for c in params.vae_channels),
        "text_hidden must be multiples of 8": all(h % 8 == 0 for h in params.text_hidden),
    }
    for message, holds in rules.items():
        if not holds:
            raise NadirError(
                message, where="params.yaml base_model.tiny", fix="presets/tiny.yaml shows sizes"
            )


def build_unet(params: TinyParams) -> UNet2DConditionModel:
    """The untrained U-Net with SDXL's conditioning; weights from torch's global generator.

    The last layer of every residual branch, and of the whole, starts at zero, so that the network
    begins as the identity it is to depart from (as Dhariwal & Nichol 2105.05233 do):
    with few steps to train for, those it takes to undo random branches count.
    """
    levels = list(zip(params.unet_channels, params.unet_transformer_layers, strict=True))
    down = ["CrossAttnDownBlock2D" if layers else "DownBlock2D" for _, layers in levels]
    up = ["CrossAttnUpBlock2D" if layers else "UpBlock2D" for _, layers in reversed(levels)]
    factor = 2 ** (len(params.vae_channels) - 1)
    unet = UNet2DConditionModel(
        sample_size=_IMAGE_PX // factor,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=list(params.unet_channels),
        layers_per_block=params.unet_layers_per_block,
        transformer_layers_per_block=list(params.unet_transformer_layers),
        attention_head_dim=[c // params.attention_head_dim for c in params.unet_channels],
        cross_attention_dim=sum(params.text_hidden),
        norm_num_groups=_GROUPS,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=_TIME_ID_CHANNELS,
        projection_class_embeddings_input_dim=6 * _TIME_ID_CHANNELS + params.text_hidden[1],
    )
    for name, layer in unet.named_modules():
        if name.endswith(_BRANCH_ENDS):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    return unet


def _assemble(params: TinyParams) -> StableDiffusionXLPipeline:
    tags = [tag for tag, _ in load_vocabulary()]
    tokenizer = build_tokenizer(tags)
    generator = torch.Generator().manual_seed(params.seed)
    encoders = [
        build_text_encoder(
            hidden,
            layers=params.text_layers,
            tokenizer=tokenizer,
            tags=tags,
            generator=generator,
            projection=projection,
        )
        for hidden, projection in zip(params.text_hidden, (False, True), strict=True)
    ]
    return StableDiffusionXLPipeline(
        vae=build_vae(params),
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=tokenizer,
        tokenizer_2=build_tokenizer(tags),
        unet=build_unet(params),
        scheduler=stock_scheduler(STOCK_NOISE),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
