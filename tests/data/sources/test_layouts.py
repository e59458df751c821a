"""The layouts and the parameter that names them know the same ones."""

from __future__ import annotations

from typing import get_args

from nadir.config.ingest import Layout
from nadir.data.sources.layouts.registry import BY_NAME


def test_params_offer_exactly_the_layouts_there_are() -> None:
    assert {"auto", *BY_NAME} == set(get_args(Layout))
