"""The U-Net's own weights, all or those of some layers, and the text encoders' beside them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from nadir.model.checkpoint.writing import save_checkpoint
from nadir.training.trainable.layers import factor_of, freeze_others, require_matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from diffusers import UNet2DConditionModel

    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.training.trainable.text import TrainedText


class FullUNet:
    """The U-Net's weights themselves.

    Args:
        network: In the precision that its weights are kept in.
        layers: Patterns of the layers that are trained; None trains all.
        layer_rates: Pattern and factor of the learning rate.
        text: Text encoders that are trained too; None leaves them out.

    Raises:
        NadirError: A pattern names no layer.
    """

    def __init__(
        self,
        network: UNet2DConditionModel,
        *,
        layers: Sequence[str] | None = None,
        layer_rates: Mapping[str, float] | None = None,
        text: TrainedText | None = None,
    ) -> None:
        self.network = network
        self.text = text
        self._rates = dict(layer_rates or {})
        freeze_others(network, layers)
        trained = [name for name, weight in network.named_parameters() if weight.requires_grad]
        require_matches(self._rates, trained, key="train.layer_rates")
        if text:
            text.unfreeze()

    def of(self, network: UNet2DConditionModel) -> FullUNet:
        """The same choice of another network of the same layers."""
        other = copy.copy(self)
        other.network = network
        return other

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """Every trained parameter of the U-Net, then of the text encoders."""
        own = {name: w for name, w in self.network.named_parameters() if w.requires_grad}
        return own | (self.text.weights() if self.text else {})

    def rate_factors(self) -> dict[str, float]:
        """See `Trainable.rate_factors`."""
        text = self.text.weights() if self.text else {}
        return {
            name: self.text.rate_factor(name)
            if self.text and name in text
            else factor_of(name, self._rates)
            for name in self.weights()
        }

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
            folder,
            base=base,
            unet=self.network,
            encoders=self.text.trained() if self.text else {},
            noise=noise,
            scaling=scaling,
            training=training,
        )
