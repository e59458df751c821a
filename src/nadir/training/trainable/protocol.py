"""What the training loop knows about what it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from diffusers import UNet2DConditionModel

    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.training.trainable.text import TrainedText


class Trainable(Protocol):
    """Everything the training loop knows about what it trains.

    Optimizer, weight average and resumable checkpoints see `weights` only, so a part of the
    network, or adapters inside it, are trained by one more class here.
    """

    @property
    def network(self) -> UNet2DConditionModel:
        """The U-Net that predicts; the weights it holds now are the ones that are drawn with."""
        ...

    @property
    def text(self) -> TrainedText | None:
        """The text encoders that are trained beside it; None while both are frozen."""
        ...

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The trained parameters by name, always in the same order; all others are frozen."""
        ...

    def rate_factors(self) -> dict[str, float]:
        """What the learning rate is multiplied by for each of `weights`; 1 is the usual."""
        ...

    def write(
        self,
        folder: Path,
        *,
        base: Path,
        noise: dict[str, Any],
        scaling: LatentScaling,
        training: dict[str, Any],
    ) -> None:
        """Write the present weights as a checkpoint folder.

        Args:
            folder: Where to write; an old one there is replaced as a whole.
            base: The base model's diffusers folder, for all that is not trained.
            noise: `NoiseParams.model_dump()`.
            scaling: What turned the training latents into the network's input.
            training: Facts about the training, plain JSON values.
        """
        ...
