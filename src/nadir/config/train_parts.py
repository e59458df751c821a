"""What a training changes: the whole U-Net, some of its layers, text encoders, or an adapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nadir.config.base import Section

Factor = Annotated[float, Field(gt=0)]
AdapterKind = Literal["lora", "dora", "lokr", "loha", "oft"]


class EncoderFactors(Section):
    """One number for each of SDXL's two text encoders."""

    first: Annotated[float, Field(ge=0)]
    """Of CLIP ViT-L; 0 leaves it frozen."""
    second: Annotated[float, Field(ge=0)]
    """Of OpenCLIP ViT-bigG; 0 leaves it frozen."""


class TextEncodersParams(Section):
    """Training of the text encoders."""

    learning_rate_factor: EncoderFactors
    """What `learning_rate` is multiplied by for each text encoder."""

    @model_validator(mode="after")
    def _one_is_trained(self) -> TextEncodersParams:
        factors = self.learning_rate_factor
        if not factors.first and not factors.second:
            raise ValueError("both factors are 0; set text_encoders: null")
        return self


class RankParams(Section):
    """Size and strength of an adapter's layers."""

    rank: Annotated[int, Field(ge=0)]
    """Rank (with `oft` the block size); 0 gives these layers no adapter."""
    alpha: Annotated[float, Field(gt=0)]
    """As `alpha` of the adapter."""


class AdapterParams(Section):
    """A small set of weights that is trained inside of the frozen model."""

    kind: AdapterKind
    """`lora` is read by every program; `dora` adds a magnitude per output; `lokr` (Kronecker),
    `loha` (Hadamard) and `oft` (rotation of outputs) are LyCORIS' forms."""
    rank: Annotated[int, Field(ge=1)]
    """Rank of the change of a layer; with `oft` the largest block that is rotated."""
    alpha: Annotated[float, Field(gt=0)]
    """The change is scaled by alpha / rank (with `lokr` not where both factors are whole matrices);
    with `oft` the most that the norm of a layer's rotation may be."""
    patterns: dict[str, RankParams]
    """Rank and alpha of layers whose name matches a glob pattern; the first that matches counts."""
    convolutions: bool
    """Also in the convolutions of the residual, down and up blocks."""
    text_encoders: bool
    """Also in the text encoders; `train.text_encoders` has their learning rates."""
    source: str | None = Field(alias="from")
    """An adapter to train on from: a file or folder that Nadir or another program wrote."""

    @model_validator(mode="after")
    def _blocks_can_turn(self) -> AdapterParams:
        ranks = (self.rank, *(pattern.rank for pattern in self.patterns.values()))
        if self.kind == "oft" and 1 in ranks:
            raise ValueError("oft needs a rank of at least 2: a block of 1 cannot be rotated")
        return self
