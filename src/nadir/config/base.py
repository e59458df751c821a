"""The form every section of `params.yaml` has."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from nadir.ground.secrets import holds_secret


class Section(BaseModel):
    """A frozen section: every key is required and no other is allowed.

    There are no defaults on purpose: `params.yaml` is complete, so DVC sees every value that
    matters and no release can change one behind a user's back.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="after")
    @classmethod
    def _holds_no_secret(cls, value: Any) -> Any:
        """params.yaml is in git, in `dvc.lock` and in MLflow: no address in it has a password."""
        if isinstance(value, str) and "://" in value and holds_secret(value):
            raise ValueError(
                "the address holds a user name, a password or a token; take it out: credentials "
                "come from the environment (AWS_ACCESS_KEY_ID ...)"
            )
        return value
