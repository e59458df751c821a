"""JSON Schema of `params.yaml`, for editors and for people."""

from __future__ import annotations

from typing import Any

from nadir.config.params import Params


def params_schema() -> dict[str, Any]:
    """The schema that `schemas/params.schema.json` holds."""
    return Params.model_json_schema(by_alias=True)
