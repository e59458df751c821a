"""Interpreter, packages and programs, beside what the lock file says."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.doctor.finding import Check, Finding, failed, none, ok

if TYPE_CHECKING:
    from nadir.doctor.scene import Scene

_LOCK = "requirements.lock"
_PYTHON = (3, 11)
_SHOWN = 4
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def _python(_scene: Scene) -> Finding:
    told = f"Python {sys.version.split()[0]} in {sys.prefix}"
    if sys.version_info[:2] == _PYTHON:
        return ok(told)
    wanted = ".".join(map(str, _PYTHON))
    return failed(
        f"{told}; the lock file is for {wanted}",
        f"`rm -r .venv && make install PYTHON=python{wanted}`",
    )


def _packages(scene: Scene) -> Finding:
    """Every pin, as installed; a local part of a version (`+cpu`) is the same package."""
    path = scene.root / _LOCK
    if not path.is_file():
        return none(f"no {_LOCK} here")
    pins = dict(_PIN.findall(path.read_text(encoding="utf-8")))
    wrong = []
    for name, pinned in pins.items():
        found = _installed(name)
        if found != pinned.partition("+")[0]:
            wrong.append(f"{name} {found or 'missing'} instead of {pinned}")
    if not wrong:
        return ok(f"{len(pins)} packages as {_LOCK} pins them")
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return failed(f"{'; '.join(wrong[:_SHOWN])}{more}", "`make install`")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def _code(scene: Scene) -> Finding:
    """An editable installation of another clone would run that one's code on this one's data."""
    import nadir

    own, running = scene.root / "src" / "nadir", Path(nadir.__file__).resolve().parent
    if not own.is_dir():
        return none(f"this project has no code of its own; {running} runs")
    if running == own.resolve():
        return ok(f"{running}")
    return failed(
        f"the code that runs is {running}, not this clone's",
        "start this clone's own program, `.venv/bin/nadir`; `make install` makes it",
    )


def _git(scene: Scene) -> Finding:
    from nadir.tracking.revision import git_state

    state = git_state(scene.root)
    if state.fault:
        return failed(f"git cannot tell the commit: {state.fault}", state.fix)
    return ok(f"commit {state.commit[:12]}{', with changes' if state.dirty else ''}")


VERSIONS = (
    Check("python", "versions", _python),
    Check("packages", "versions", _packages),
    Check("code", "versions", _code),
    Check("git", "versions", _git),
)
