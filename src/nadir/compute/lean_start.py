"""How a process of a stage loads its libraries."""

from __future__ import annotations

import atexit
import contextlib
import gc
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# diffusers loads them wherever they are installed. Stages neither train adapters nor quantise: the
# trainer does, in a process of its own.
_NEVER_USED = ("peft", "torchao")
# diffusers and transformers load them too, for schedulers, losses and loaders that nothing here
# calls. Who uses them by itself does so after `loaded`.
_NOT_WHILE_LOADING = (*_NEVER_USED, "scipy")

_own_process = False
_hidden: set[str] = set()


def start_lean() -> None:
    """In a process started by `python -m`, load what comes now quickly; `loaded` ends it.

    Nothing that is made while modules load is garbage, so nothing looks for it: 14 % of the time
    that diffusers takes. Packages that only others would load look as if they were not installed
    (https://docs.python.org/3/reference/import.html, `None` in `sys.modules`): another 25 %.
    Elsewhere, as in a notebook or a test, this does nothing.
    """
    global _own_process  # noqa: PLW0603 - which is a property of the process
    # What `-m` has there while it looks for the module, and never afterwards.
    if sys.argv[0] == "-m":
        _own_process = True
        _begin()


def start_stage() -> None:
    """`start_lean`, where what no stage uses stays away for good."""
    start_lean()
    _hidden.difference_update(_NEVER_USED)


@contextlib.contextmanager
def lean() -> Iterator[None]:
    """Around an import in the midst of the work: as in `start_lean`, where that had an effect."""
    if not _own_process:
        yield
        return
    _begin()
    try:
        yield
    finally:
        loaded()


def loaded() -> None:
    """Garbage is looked for again, among what is made from now on, and all packages are there."""
    for name in _hidden:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
    _hidden.clear()
    if not gc.isenabled():
        freeze()
        gc.enable()


def freeze() -> None:
    """Never look for garbage among what there is now, but let it go at the process's end.

    Libraries that count what is left then, such as DuckDB, else print all of it as a leak.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)


def _begin() -> None:
    gc.disable()
    for name in _NOT_WHILE_LOADING:
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment]
            _hidden.add(name)
