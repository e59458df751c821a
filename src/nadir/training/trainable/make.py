"""From `params.yaml` train to what it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.model.sdxl.networks import load_text, load_unet
from nadir.training.train_step import PRECISIONS
from nadir.training.trainable.adapters.adapted import Adapters
from nadir.training.trainable.full_unet import FullUNet
from nadir.training.trainable.text import TrainedText

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from nadir.config.train import TrainParams
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.trainable.protocol import Trainable


def make_trainable(params: TrainParams, base: Path, text: TextEncoder | None = None) -> Trainable:
    """What `params.yaml` train says is trained, on the CPU.

    Args:
        params: `params.yaml` train.
        base: The base model's diffusers folder.
        text: The base's text encoders as loader and previews use them, in `text_precision`; None
            loads them where they are trained.

    Raises:
        NadirError: A pattern names no layer, or the adapter to train on from does not fit.
    """
    trained = None
    if params.text_encoders:
        models = text or load_text(base, dtype=text_precision(params))
        trained = TrainedText(models, params.text_encoders.learning_rate_factor)
    if params.adapter:
        network = load_unet(base, dtype=PRECISIONS[params.mixed_precision])
        return Adapters(network, params, params.adapter, text=trained)
    return FullUNet(
        load_unet(base, dtype=PRECISIONS[params.weights]),
        layers=params.layers,
        layer_rates=params.layer_rates,
        text=trained,
    )


def text_precision(params: TrainParams) -> torch.dtype:
    """Precision of the text encoders' own weights: that of all weights that are trained."""
    if params.text_encoders and not params.adapter:
        return PRECISIONS[params.weights]
    return PRECISIONS[params.mixed_precision]
