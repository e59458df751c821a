"""From the question to the answer on the screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nadir.doctor.checks import CHECKS
from nadir.doctor.examination import examine, worst_is_failure
from nadir.doctor.scene import Scene
from nadir.doctor.show import as_json as machine_form
from nadir.doctor.show import as_table
from nadir.ground.errors import NadirError
from nadir.ground.logs.stream import print_document
from nadir.ground.workspace import project_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.doctor.finding import Check


def doctor(names: Sequence[str], *, as_json: bool) -> int:
    """Ask the checks and print what they found.

    Args:
        names: Of checks or groups; none asks all.
        as_json: Print JSON instead of a table.

    Returns:
        The exit code: 0, or 1 when a check failed.
    """
    try:
        root, checks = project_root(), _chosen(names)
    except NadirError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    found = examine(Scene(root), checks)
    if as_json:
        print_document(machine_form(found))
    else:
        sys.stdout.write(f"{root}\n")
        sys.stdout.write(as_table(found, sys.stdout))
    return int(worst_is_failure(found))


def _chosen(names: Sequence[str]) -> list[Check]:
    known = {name for check in CHECKS for name in (check.name, check.group)}
    if unknown := [name for name in names if name not in known]:
        raise NadirError(
            f"there is no check or group `{unknown[0]}`",
            fix=f"name one of {', '.join(sorted(known))}",
        )
    return [c for c in CHECKS if not names or c.name in names or c.group in names]
