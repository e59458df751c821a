"""Known faults of the pinned packages, by pip-audit in an environment of its own.

Exit code 0 only when every package was looked up and none is known to be faulty. pip-audit itself
says "No known vulnerabilities found" also where the index knew none of the packages. Faults that
somebody has looked into and that do not concern Nadir stand with their reason under
`[tool.nadir.audit.accepted]` in pyproject.toml; one that is not reported any more has to go there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
LOCK = _ROOT / "requirements.lock"
_TOOL = "pip-audit==2.10.1"
_SERVICES = ("pypi", "osv")
_SHOWN = 3


def main() -> int:
    """Ask one service, and the other where the first cannot be reached."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        programs = Path(folder) / "bin"
        install = [
            str(programs / "pip"),
            "install",
            "--quiet",
            "--disable-pip-version-check",
            _TOOL,
        ]
        subprocess.run(install, check=True)
        for service in _SERVICES:
            answer = _asked(programs / "pip-audit", service)
            if isinstance(answer, str):
                sys.stderr.write(f"audit: {service} could not be reached: {answer}\n")
                continue
            return told(answer, service, accepted_faults(_ROOT / "pyproject.toml"))
    sys.stderr.write("audit: nothing was looked up, so nothing is known; run it with a network\n")
    return 1


def _asked(program: Path, service: str) -> list[dict[str, Any]] | str:
    """What is known of each package, or why the service could not be asked."""
    command = [str(program), "--requirement", str(LOCK), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--vulnerability-service", service, "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or ["no answer"])[-1]
    skipped = [entry["skip_reason"] for entry in found if "skip_reason" in entry]
    if len(skipped) == len(found):
        return f"{len(skipped)} packages were not found there ({skipped[0]}, ...)"
    return list(found)


def accepted_faults(pyproject: Path) -> dict[str, str]:
    """Why each known fault that was looked into is accepted, by its id.

    Raises:
        ValueError: One has no reason.
    """
    tables = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]
    accepted = dict(tables["nadir"]["audit"]["accepted"])
    for name, why in accepted.items():
        if not why.strip():
            raise ValueError(f"{pyproject.name} accepts {name} and does not say why")
    return accepted


def told(found: list[dict[str, Any]], service: str, accepted: dict[str, str]) -> int:
    """Print what is known of each package; 1 where somebody has to look at something.

    Args:
        found: The `dependencies` of pip-audit's JSON.
        service: Who was asked.
        accepted: As `accepted_faults` gives them.
    """
    skipped = [entry["name"] for entry in found if "skip_reason" in entry]
    faults = [(entry, fault) for entry in found for fault in entry.get("vulns", [])]
    for entry, fault in faults:
        sys.stdout.write(f"{entry['name']} {entry['version']}: {_verdict(fault, accepted)}\n")
    known = {name for _, fault in faults for name in _names(fault)}
    past = sorted(accepted.keys() - known)
    for name in past:
        sys.stdout.write(f"{name} is accepted in pyproject.toml and reported no more: remove it\n")
    if skipped:
        more = ", ..." if len(skipped) > _SHOWN else ""
        listed = ", ".join(skipped[:_SHOWN])
        sys.stdout.write(f"not looked up: {len(skipped)} packages ({listed}{more})\n")
    left = {entry["name"] for entry, fault in faults if not accepted.keys() & _names(fault)}
    looked = len(found) - len(skipped)
    sys.stdout.write(f"{looked} packages looked up at {service}, {len(left)} with known faults\n")
    return int(bool(left or skipped or past))


def _verdict(fault: dict[str, Any], accepted: dict[str, str]) -> str:
    for name in sorted(accepted.keys() & _names(fault)):
        return f"{name}, accepted: {accepted[name]}"
    return f"{fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'no version yet'}"


def _names(fault: dict[str, Any]) -> set[str]:
    """A fault's id and what other lists call it: PyPI and OSV differ in which comes first."""
    return {fault["id"], *fault.get("aliases", [])}


if __name__ == "__main__":
    raise SystemExit(main())
