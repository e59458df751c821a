from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from nadir.ground.errors import NadirError
from nadir.model.sdxl import ldm_layout
from nadir.model.sdxl.hashing import encoder_hash, unet_hash
from nadir.model.sdxl.networks import UNET_PARAMETERS, load_text, load_unet, load_vae, sdxl_configs


def on_meta(make: Any, config: dict[str, Any]) -> torch.nn.Module:
    with torch.device("meta"):
        return make(config)


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_real_unet_has_sdxls_parameters() -> None:
    unet = on_meta(UNet2DConditionModel.from_config, sdxl_configs()["unet"])
    assert count(unet) == UNET_PARAMETERS == 2_567_463_684
    # Names of SDXL base 1.0's single file, at the ends and in the middle.
    names = set(ldm_layout.unet_names(unet.state_dict(), unet.config).values())
    assert len(names) == 1680
    for name in (
        "input_blocks.0.0.weight",
        "input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight",
        "input_blocks.6.0.op.bias",
        "input_blocks.8.1.transformer_blocks.9.ff.net.0.proj.weight",
        "middle_block.1.proj_in.weight",
        "output_blocks.2.2.conv.weight",
        "output_blocks.5.2.conv.weight",
        "output_blocks.8.0.skip_connection.weight",
        "label_emb.0.2.bias",
        "out.2.weight",
    ):
        assert f"model.diffusion_model.{name}" in names


def test_the_real_vae_has_sdxls_parameters() -> None:
    vae = on_meta(AutoencoderKL.from_config, sdxl_configs()["vae"])
    assert count(vae) == 83_653_863
    names = set(ldm_layout.vae_names(vae.state_dict(), vae.config).values())
    for name in (
        "encoder.down.1.block.0.nin_shortcut.weight",
        "encoder.down.2.downsample.conv.weight",
        "encoder.mid.attn_1.proj_out.bias",
        "decoder.mid.block_2.conv1.weight",
        "decoder.up.3.upsample.conv.weight",
        "decoder.up.0.block.2.norm2.weight",
        "decoder.norm_out.weight",
        "quant_conv.weight",
    ):
        assert f"first_stage_model.{name}" in names


def test_the_real_text_encoders_have_sdxls_parameters() -> None:
    configs = sdxl_configs()
    first = on_meta(lambda c: CLIPTextModel(CLIPTextConfig(**c)), configs["text_encoder"])
    second = on_meta(
        lambda c: CLIPTextModelWithProjection(CLIPTextConfig(**c)), configs["text_encoder_2"]
    )
    assert count(first) == 123_060_480
    assert count(second) == 694_659_840


def test_a_fine_tuned_decoder_keeps_the_encoders_hash(base: Path) -> None:
    vae = load_vae(base)
    before = encoder_hash(vae)
    vae.decoder.conv_out.weight += 1.0
    vae.post_quant_conv.bias += 1.0
    assert encoder_hash(vae) == before
    vae.quant_conv.bias += 1.0
    assert encoder_hash(vae) != before


def test_a_hash_follows_the_values_and_nothing_else(base: Path) -> None:
    unet = load_unet(base)
    assert unet_hash(unet) == unet_hash(load_unet(base))
    with torch.no_grad():
        unet.conv_in.bias[0] += 1e-3
    assert unet_hash(unet) != unet_hash(load_unet(base))


@pytest.mark.parametrize("load", [load_unet, load_vae, load_text])
def test_a_missing_part_is_named(load: Any, tmp_path: Path) -> None:
    with pytest.raises(NadirError, match=r"the model has no `(unet|vae|tokenizer)` folder"):
        load(tmp_path)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_a_missing_weight_is_named_and_not_made_up(part: str, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    weights = next((folder / part).glob("*.safetensors"))
    state = load_file(weights)
    state.pop(min(state))
    weights.unlink()
    save_file(state, weights, {"format": "pt"})
    load = {"unet": load_unet, "vae": load_vae}.get(part, load_text)
    with pytest.raises(NadirError, match=rf"the model's {part} lacks .* \(1 weights in all\)"):
        load(folder)
