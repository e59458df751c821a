"""Whether a model is only looked at, to be saved, and has neither to load nor to draw."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_only_described = ContextVar("_only_described", default=False)


@contextlib.contextmanager
def only_described() -> Iterator[None]:
    """Inside the block a served model neither loads weights nor draws.

    MLflow loads each model that it saves and has it answer the example. Where a run is registered,
    which may be a machine without a GPU, that would be the whole of SDXL and a picture of 1024².
    """
    token = _only_described.set(True)
    try:
        yield
    finally:
        _only_described.reset(token)


def is_only_described() -> bool:
    """Whether the code that asks runs inside such a block."""
    return _only_described.get()
