"""What is trained: the network that predicts, its weights by name, and how they are published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from nadir.model.checkpoint.writing import save_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from diffusers import UNet2DConditionModel

    from nadir.model.sdxl.scaling import LatentScaling


class Trainable(Protocol):
    """Everything the training loop knows about what it trains.

    Optimizer, weight average and resumable checkpoints see `weights` only, so a part of the
    network, or adapters inside it, are trained by one more class here.
    """

    @property
    def network(self) -> UNet2DConditionModel:
        """The U-Net that predicts; the weights it holds now are the ones that are drawn with."""
        ...

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The trained parameters by name, always in the same order."""
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


class FullUNet:
    """The whole U-Net, and nothing else of the model.

    Args:
        network: In float32.
    """

    def __init__(self, network: UNet2DConditionModel) -> None:
        self.network = network

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """Every parameter of the U-Net."""
        return dict(self.network.named_parameters())

    def write(
        self,
        folder: Path,
        *,
        base: Path,
        noise: dict[str, Any],
        scaling: LatentScaling,
        training: dict[str, Any],
    ) -> None:
        """See `Trainable.write`."""
        save_checkpoint(
            folder, base=base, unet=self.network, noise=noise, scaling=scaling, training=training
        )
