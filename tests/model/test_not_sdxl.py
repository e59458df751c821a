"""Single files that are no whole SDXL are refused by what they are, whatever else they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from nadir.ground.errors import NadirError
from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.model.single_file.reading import load_single_file

if TYPE_CHECKING:
    from pathlib import Path

UNET, SPEC, EMPTY = "model.diffusion_model.", "modelspec.prediction_type", torch.zeros(0)


def shaped(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2) for name in names}


def sd(context: int, **channels: int) -> dict[str, torch.Tensor]:
    key = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    first = torch.zeros(320, channels.get("channels", 4), 3, 3)
    return {f"{UNET}input_blocks.0.0.weight": first, f"{UNET}{key}": torch.zeros(320, context)}


KINDS = [
    (shaped("lora_unet_down_blocks_0_attn.lora_down.weight", "x.alpha"), "a LoRA"),
    (shaped("unet.down_blocks.0.attn.to_k.lora_A.weight"), "a LoRA"),
    (shaped("lora_te1_text_model_encoder.hada_w1_a"), "a LoRA"),
    (shaped("lycoris_unet_mid_block.lokr_w1"), "a LoRA"),
    (shaped("control_model.input_blocks.0.0.weight"), "a ControlNet"),
    (shaped("controlnet_cond_embedding.conv_in.weight", "down_blocks.0.x"), "a ControlNet"),
    (shaped("lllite_unet_input_blocks_4_1.down.0.weight"), "a ControlNet"),
    (shaped("ip_adapter.1.to_k_ip.weight", "image_proj.proj.weight"), "an IP-Adapter"),
    (shaped("adapter.body.0.in_conv.weight"), "a T2I-Adapter"),
    (shaped("clip_l", "clip_g"), "a textual inversion"),
    (shaped("decoder.conv_in.weight", "encoder.conv_in.weight"), "a VAE alone"),
    (shaped("text_model.embeddings.token_embedding.weight"), "a text encoder alone"),
    (shaped("down_blocks.0.resnets.0.conv1.weight"), "a diffusers folder's U-Net alone"),
    (shaped("input_blocks.0.0.weight", "out.2.bias"), "an LDM U-Net alone"),
    (shaped("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"), "an SD3"),
    (shaped("double_blocks.0.img_attn.qkv.weight"), "a Flux"),
    (shaped("model.diffusion_model.double_blocks.0.img_attn.qkv.weight"), "a Flux"),
    (sd(768), "Stable Diffusion 1"),
    (sd(768, channels=9), "Stable Diffusion 1"),
    (sd(1024), "Stable Diffusion 2"),
    (sd(1280), "the SDXL refiner"),
    (shaped("something.else"), r"of an unknown kind \(something\.else"),
    ({}, "empty"),
]


@pytest.mark.parametrize(("content", "kind"), KINDS)
def test_what_is_no_sdxl_is_refused_by_what_it_is(
    tmp_path: Path, content: dict[str, torch.Tensor], kind: str
) -> None:
    save_file(content, tmp_path / "it.safetensors")
    with pytest.raises(NadirError, match=rf"the file is {kind}.*, not a whole SDXL"):
        load_pipeline(tmp_path / "it.safetensors")


@pytest.mark.parametrize(("content", "kind"), [KINDS[i] for i in (0, 12, 17, 18, 19)])
@pytest.mark.parametrize(
    ("beside", "metadata"),
    [
        ({}, {SPEC: "flow"}),
        ({}, {"ss_zero_terminal_snr": "True"}),
        ({"denoiser.sigmas": torch.linspace(0.002, 700, 1000)}, {}),
        ({"marker_of_it": EMPTY, "betas": torch.linspace(1e-4, 0.02, 1000)}, {}),
    ],
)
def test_what_is_no_sdxl_is_told_before_what_noise_it_uses(
    tmp_path: Path,
    content: dict[str, torch.Tensor],
    kind: str,
    beside: dict[str, torch.Tensor],
    metadata: dict[str, str],
) -> None:
    save_file(content | beside, tmp_path / "it.safetensors", metadata)
    for read in (load_checkpoint_info, load_single_file):
        with pytest.raises(NadirError, match=rf"the file is {kind}.*, not a whole SDXL"):
            read(tmp_path / "it.safetensors")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xff\xff\x00 not safetensors", "not a readable safetensors file"),
        (b"GGUF\x03\x00\x00\x00" + bytes(64), "it is GGUF"),
        (b"PK\x03\x04" + bytes(64), "pickle of torch"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"", "not a readable safetensors file"),
    ],
)
def test_what_only_bears_the_name_is_refused_by_what_it_is(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    (tmp_path / "it.safetensors").write_bytes(content)
    with pytest.raises(NadirError, match=kind):
        load_pipeline(tmp_path / "it.safetensors")
