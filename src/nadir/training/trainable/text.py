"""Text encoders that are trained beside the U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from nadir.config.train_parts import EncoderFactors
    from nadir.model.sdxl.text import TextEncoder

FIRST, SECOND = "text_encoder", "text_encoder_2"


class TrainedText:
    """SDXL's text encoders, of which one or both take gradients.

    Args:
        models: The encoders that the loader and the previews use too, so that all see one state.
        factors: What the learning rate is multiplied by; 0 freezes an encoder.
    """

    def __init__(self, models: TextEncoder, factors: EncoderFactors) -> None:
        self.models = models
        self._rates = factors
        self._factors = {FIRST: factors.first, SECOND: factors.second}

    def of(self, models: TextEncoder) -> TrainedText:
        """The same choice of other text encoders."""
        return TrainedText(models, self._rates)

    def encoders(self) -> dict[str, Any]:
        """Both encoders by their folder's name, frozen ones included."""
        return {FIRST: self.models.text_encoder, SECOND: self.models.text_encoder_2}

    def trained(self) -> dict[str, Any]:
        """Those with a rate."""
        return {name: model for name, model in self.encoders().items() if self._factors[name]}

    def wrapped(self, wrap: Callable[[Any], Any]) -> list[Any]:
        """Both encoders as they are called in training: those that are trained through `wrap`."""
        trained = self.trained()
        return [wrap(m) if part in trained else m for part, m in self.encoders().items()]

    def unfreeze(self) -> None:
        """Let every weight that changes the conditioning take gradients.

        The U-Net sees the states before the first encoder's last layer, so that layer and the norm
        behind it change nothing, take no gradient and stay as they are.
        """
        for part, encoder in self.trained().items():
            for name, parameter in encoder.named_parameters():
                used = not (part == FIRST and is_unused(name, encoder.config.num_hidden_layers))
                parameter.requires_grad_(used)

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that take gradients, as `text_encoder.…` and `text_encoder_2.…`."""
        return {
            f"{part}.{name}": parameter
            for part, encoder in self.trained().items()
            for name, parameter in encoder.named_parameters()
            if parameter.requires_grad
        }

    def rate_factor(self, name: str) -> float:
        """Of a weight or layer named as in `weights`."""
        return self._factors[name.partition(".")[0]]


def is_unused(name: str, layers: int) -> bool:
    """Whether a weight of the first text encoder comes after the states that the U-Net sees.

    Args:
        name: Of a module or parameter.
        layers: Number of the encoder's layers.
    """
    inner = name.removeprefix("text_model.")
    return inner.startswith((f"encoder.layers.{layers - 1}.", "final_layer_norm"))
