"""`register`: the registry the model goes to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nadir.config.base import Section


class RegisterParams(Section):
    """Name of the model in MLflow, its experiment, and whether a version holds its weights."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    """Registered model's name."""
    experiment: Annotated[str, Field(min_length=1)]
    """MLflow experiment."""
    weights: Literal["auto", "copy", "pointer"]
    """What a new version holds. copy: the checkpoint itself and the code that draws with it, so
    that it loads where nothing but MLflow and its requirements is installed. pointer: DVC's hash of
    the checkpoint, which loads in a clone. auto: copy if MLflow is a server (http, https), pointer
    in a store of this clone."""
    precision: Literal["checkpoint", "fp16"]
    """Of a copy's U-Net and text encoders. checkpoint: as trained, so it draws what the clone
    draws, to the bit. fp16: half the size of fp32, and pictures that differ by the rounding."""
    share: Literal["versions", "everything"]
    """What is sent to DVC's remote, where one is configured that other machines reach. versions:
    the weights of each registered version, with manifest, tags and reports of the present one.
    everything: latents and base model too, and DVC's notes of which inputs made which outputs, so
    that a worker with this setting fetches what another has computed."""
    licence: Annotated[str, Field(min_length=1, max_length=200)] | None
    """The model's licence, as its card names it, such as openrail++ (SDXL base's); null says that
    none is stated."""
