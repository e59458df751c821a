"""`compute`: how hard the machine works; never changes a result, so no stage depends on it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nadir.config.base import Section


class ComputeParams(Section):
    """Machine settings."""

    workers: Annotated[int, Field(ge=0)]
    """Processes that decode images; 0 uses every core."""
    dask_scheduler: str | None
    """Address of a Dask scheduler (`tcp://host:8786`) whose workers decode the images instead."""
    device: Literal["auto", "cpu", "cuda", "mps"]
    """Device of base model, encoding and evaluation; training takes accelerate's, or `cpu`."""
    processes: Annotated[int, Field(ge=1)]
    """Encoding and training processes on this machine; several by accelerate launch."""
    accelerate_config: str | None
    """An accelerate config file, for several machines."""
