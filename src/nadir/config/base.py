"""The form every section of `params.yaml` has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen section: every key is required and no other is allowed.

    There are no defaults on purpose: `params.yaml` is complete, so DVC sees every value that
    matters and no release can change one behind a user's back.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
