"""Which files of the package a stage runs: `dvc.yaml` must list them, for DVC follows no import.

The rooms that only watch (`tracking`, `pipeline`) are left out: they change no output of a stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.ground.import_closure import PACKAGE, import_closure
from nadir.tracking.lock_file import stage_definitions

if TYPE_CHECKING:
    from pathlib import Path

_EXEMPT = (f"{PACKAGE}.tracking", f"{PACKAGE}.pipeline")
_COMMAND = f"python -m {PACKAGE}.stages."


def code_dependencies(module: str, source: Path) -> list[Path]:
    """Files of the package that running `module` may load, itself included.

    Args:
        module: Dotted name, such as `nadir.stages.train`.
        source: The folder that holds the package (`src`).

    Returns:
        Paths below `source`'s parent, sorted.

    Raises:
        NadirError: No such module.
    """
    files = import_closure(module, source, exempt=_EXEMPT)
    return sorted(file.relative_to(source.parent) for file in files)


def stage_code(root: Path) -> dict[str, list[str]]:
    """The code that each stage of `dvc.yaml` should list, as paths from the root."""
    stages = stage_definitions(root)
    return {
        name: [path.as_posix() for path in code_dependencies(module, root / "src")]
        for name, definition in stages.items()
        if (module := _module_of(definition))
    }


def _module_of(definition: dict[str, Any]) -> str | None:
    command = str(definition["cmd"])
    return command.split()[2] if command.startswith(_COMMAND) else None
