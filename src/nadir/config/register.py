"""`register`: the registry the model goes to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nadir.config.base import Section


class RegisterParams(Section):
    """Name of the model in MLflow and of the experiment its runs belong to."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    """Registered model's name."""
    experiment: Annotated[str, Field(min_length=1)]
    """MLflow experiment."""
