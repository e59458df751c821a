"""All checks, asked side by side, each of which may break by itself."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from nadir.doctor.finding import Check, Finding, failed
from nadir.ground.errors import NadirError
from nadir.ground.secrets import masked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.doctor.scene import Scene

_AT_ONCE = 4  # most wait for a program or a server


def examine(scene: Scene, checks: Sequence[Check]) -> list[tuple[Check, Finding]]:
    """What each check found, in their order; secrets are masked."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda check: _found(check, scene), checks))
    return list(zip(checks, found, strict=True))


def worst_is_failure(found: Sequence[tuple[Check, Finding]]) -> bool:
    """Whether any check failed."""
    return any(finding.state == "failed" for _, finding in found)


def _found(check: Check, scene: Scene) -> Finding:
    finding = _asked(check, scene)
    return replace(finding, told=masked(finding.told), fix=masked(finding.fix))


def _asked(check: Check, scene: Scene) -> Finding:
    try:
        return check.look(scene)
    except NadirError as error:
        where = f"{error.where}: " if error.where else ""
        return failed(f"{where}{error.what}", error.fix or "correct that")
    except subprocess.TimeoutExpired as error:
        return failed(
            f"`{error.cmd[0]}` did not end within {error.timeout:.0f} s",
            "see what it waits for: a disk, a server or a lock that does not answer",
        )
    except ImportError as error:
        return failed(
            f"a library is missing: {error}",
            f"`make install`, which fills {sys.prefix} from requirements.lock",
        )
    # Whatever is broken here, the other checks are still asked.
    except Exception as error:  # noqa: BLE001
        first = (str(error).splitlines() or [""])[0]
        return failed(
            f"cannot be looked at: {type(error).__name__}: {first}",
            "correct what it names; if nothing is wrong there, report it",
        )
