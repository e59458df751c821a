"""Charts by matplotlib that are the same wherever they are drawn."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKEND = "agg"  # draws into memory and needs no screen


@contextlib.contextmanager
def stock_matplotlib() -> Iterator[None]:
    """Inside the block matplotlib draws without a screen and in its own default style.

    A notebook names a backend in `MPLBACKEND` that only the notebook has, and a `matplotlibrc` in
    the current folder or the user's home changes every chart. Neither may stop a stage, or make
    its outputs differ.
    """
    os.environ["MPLBACKEND"] = _BACKEND
    with contextlib.chdir(_own_settings()):  # where it looks for a matplotlibrc first
        import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def _own_settings() -> Path:
    """The folder of the settings that matplotlib comes with."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name="matplotlib")
    return Path(spec.origin).parent / "mpl-data"
