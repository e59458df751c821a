"""How a process of a stage loads its libraries."""

from __future__ import annotations

import atexit
import gc
import sys

# diffusers loads them wherever they are installed. Stages neither train adapters nor quantise: the
# trainer does, in a process of its own.
_NEVER_USED = ("peft", "torchao")


def start_lean(*absent: str) -> None:
    """In a process started by `python -m`, load what comes now quickly; `loaded` ends it.

    Nothing that is made while modules load is garbage, so nothing looks for it: 14 % of the time
    that diffusers takes. `absent` are packages that look as if they were not installed from here
    on (https://docs.python.org/3/reference/import.html, `None` in `sys.modules`). Elsewhere, as in
    a notebook or a test, this does nothing.
    """
    # What `-m` has there while it looks for the module, and never afterwards.
    if sys.argv[0] != "-m":
        return
    gc.disable()
    for name in absent:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def start_stage() -> None:
    """`start_lean`, without what no stage uses."""
    start_lean(*_NEVER_USED)


def loaded() -> None:
    """Garbage is looked for again, among what is made from now on."""
    if not gc.isenabled():
        freeze()
        gc.enable()


def freeze() -> None:
    """Never look for garbage among what there is now, but let it go at the process's end.

    Libraries that count what is left then, such as DuckDB, else print all of it as a leak.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)
