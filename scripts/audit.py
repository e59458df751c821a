"""Known faults of the pinned packages, by pip-audit in an environment of its own.

Exit code 0 only when every package was looked up and none is known to be faulty. pip-audit itself
says "No known vulnerabilities found" also where the index knew none of the packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
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
            return _told(answer, service)
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


def _told(found: list[dict[str, Any]], service: str) -> int:
    skipped = [entry["name"] for entry in found if "skip_reason" in entry]
    faulty = [entry for entry in found if entry.get("vulns")]
    for entry in faulty:
        for fault in entry["vulns"]:
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            sys.stdout.write(
                f"{entry['name']} {entry['version']}: {fault['id']}, fixed in {fixed}\n"
            )
    if skipped:
        more = ", ..." if len(skipped) > _SHOWN else ""
        listed = ", ".join(skipped[:_SHOWN])
        sys.stdout.write(f"not looked up: {len(skipped)} packages ({listed}{more})\n")
    looked = len(found) - len(skipped)
    sys.stdout.write(f"{looked} packages looked up at {service}, {len(faulty)} with known faults\n")
    return int(bool(faulty or skipped))


if __name__ == "__main__":
    raise SystemExit(main())
