"""`decoder`: fine-tuning the VAE's decoder (paper §4.4), off unless `steps` says otherwise."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nadir.config.base import Section

Weight = Annotated[float, Field(ge=0)]


class DecoderLossParams(Section):
    """Weights of the parts of the loss; pixels lie between -1 and 1."""

    absolute: Weight
    """Of the mean absolute error of pixels, which keeps edges sharp."""
    square: Weight
    """Of the mean squared error of pixels, which keeps flat colours right."""
    edges: Weight
    """Of the mean absolute error of the differences between neighbouring pixels: what the decoder
    draws between two of them and the picture has not, such as the lines of an 8 x 8 grid."""

    @model_validator(mode="after")
    def _is_something(self) -> DecoderLossParams:
        if not self.absolute + self.square + self.edges:
            msg = "one of decoder.loss must be above 0"
            raise ValueError(msg)
        return self


class DecoderParams(Section):
    """Whether and how the VAE's decoder is trained on the training images; the encoder stays."""

    steps: Annotated[int, Field(ge=0)]
    """Optimizer steps; 0 leaves the base's decoder as it is and computes nothing."""
    batch_size: Annotated[int, Field(ge=1)]
    """Crops per step."""
    gradient_accumulation: Annotated[int, Field(ge=1)]
    """Parts that a batch is computed in, one after the other; more parts take less memory."""
    crop_px: Annotated[int, Field(ge=16, multiple_of=8)]
    """Side of the square crops, drawn anywhere in images as their buckets fit them; smaller images
    are passed over."""
    learning_rate: Annotated[float, Field(gt=0)]
    """AdamW's, from a twentieth of the steps on; it rises linearly before."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    """Of the moving average of the weights, which is what counts in the end; 0 is none."""
    loss: DecoderLossParams
    """What is minimised."""
    measured_images: Annotated[int, Field(ge=1)]
    """Held-out images whose reconstruction is measured before and after."""
    checkpoint_every: Annotated[int, Field(ge=1)]
    """Steps between two states that a killed run goes on from."""
    seed: int
    """Of the choice of images and crops."""

    @model_validator(mode="after")
    def _parts_are_even(self) -> DecoderParams:
        if self.batch_size % self.gradient_accumulation:
            msg = "decoder.batch_size must be a multiple of decoder.gradient_accumulation"
            raise ValueError(msg)
        return self
