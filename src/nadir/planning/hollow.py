"""The networks of a training without their numbers: shapes that operations are counted on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.ground.workspace import expanded
from nadir.model.sdxl.networks import sdxl_configs
from nadir.model.sdxl.text import TextEncoder
from nadir.training.train_step import PRECISIONS
from nadir.training.trainable.adapters.adapted import Adapters
from nadir.training.trainable.full_unet import FullUNet
from nadir.training.trainable.make import text_precision
from nadir.training.trainable.text import TrainedText

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nadir.config.base_model import BaseModelParams
    from nadir.config.train import TrainParams
    from nadir.training.trainable import Trainable

Configs = dict[str, dict[str, Any]]
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def configs_of(base: Path, params: BaseModelParams) -> Configs:
    """Configurations of the networks that a training starts from.

    Args:
        base: Diffusers folder that the stage `base_model` writes; it may not exist yet.
        params: `params.yaml` base_model.

    Returns:
        `unet`, `vae`, `text_encoder`, `text_encoder_2`. Where neither `base` nor
        `params.source` is a diffusers folder, those of SDXL base 1.0, as a single file has them.

    Raises:
        NadirError: The tiny model is to be made, and has not been made yet.
    """
    for folder in (base, expanded(params.source)):
        if all((folder / part / "config.json").is_file() for part in _PARTS):
            return {part: read_json(folder / part / "config.json") for part in _PARTS}
    if params.source == "tiny":
        raise NadirError(
            "the tiny model has not been made yet, so its size is not known",
            where=str(base),
            fix="`dvc repro base_model` makes it in a minute",
        )
    return sdxl_configs()


def hollow_trainable(configs: Configs, train: TrainParams) -> tuple[Trainable, TextEncoder]:
    """What `make_trainable` loads, and the text encoders, on the meta device.

    An adapter to train on from is not read: its size is that of the settings.
    """
    with torch.device("meta"):
        text = _text(configs, text_precision(train))
        return _trainable(configs, train, text), text


def _trainable(configs: Configs, train: TrainParams, text: TextEncoder) -> Trainable:
    trained = None
    if train.text_encoders:
        trained = TrainedText(text, train.text_encoders.learning_rate_factor)
    if train.adapter:
        adapter = train.adapter.model_copy(update={"source": None})
        network = _unet(configs["unet"], PRECISIONS[train.mixed_precision])
        return Adapters(network, train, adapter, text=trained)
    network = _unet(configs["unet"], PRECISIONS[train.weights])
    return FullUNet(network, layers=train.layers, layer_rates=train.layer_rates, text=trained)


def hollow_vae(configs: Configs) -> AutoencoderKL:
    """The VAE in float32, as previews and evaluation use it, on the meta device."""
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(configs["vae"])
    return cast("AutoencoderKL", vae.eval().requires_grad_(requires_grad=False))


def _unet(config: dict[str, Any], dtype: torch.dtype) -> UNet2DConditionModel:
    network = UNet2DConditionModel.from_config(config)
    # Its own `to` warns of parts that need float32, of which there are none.
    torch.nn.Module.to(network, dtype)
    return cast("UNet2DConditionModel", network.train())


def _text(configs: Configs, dtype: torch.dtype) -> TextEncoder:
    first = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
    second = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
    for model in (first, second):
        model.to(dtype).eval().requires_grad_(requires_grad=False)
    # Token ids are counted here, not read, so no tokenizer is wanted.
    nothing: Any = None
    return TextEncoder(nothing, nothing, first, second)


@contextlib.contextmanager
def runnable(*networks: torch.nn.Module) -> Iterator[None]:
    """Inside the block networks of the meta device run, as on a CPU, on shapes without numbers.

    The meta device itself knows neither mixed precision nor the memory-saving kernels of attention;
    on the other hand, peft and transformers can only build networks there.
    """
    with FakeTensorMode():
        for network in networks:
            _onto_the_cpu(network)
        yield


def _onto_the_cpu(network: torch.nn.Module) -> None:
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            made = torch.empty(weight.shape, dtype=weight.dtype)
            kept = torch.nn.Parameter(made, requires_grad=weight.requires_grad)
            setattr(module, name, kept)
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
