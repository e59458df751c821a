"""The scan of `make scan` finds what is planted, and knows what was reviewed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT / ".secrets.baseline"


def scan(*files: str) -> subprocess.CompletedProcess[str]:
    """The hook over some files."""
    program = Path(sys.executable).with_name("detect-secrets-hook")
    return subprocess.run(
        [str(program), "--no-verify", "--baseline", str(BASELINE), *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_planted_key_fails_the_scan_and_a_reviewed_one_does_not(tmp_path: Path) -> None:
    planted = tmp_path / "settings.py"
    # In two parts, or this very line would be found.
    planted.write_text("key = 'AKIA" + "IOSFODNN7EXAMPLF'\n")
    assert "AWS Access Key" in scan(str(planted)).stdout
    assert scan("src/nadir/ground/secrets.py", "tests/flows/test_secrets.py").returncode == 0


def test_every_entry_of_the_list_was_judged_by_a_person() -> None:
    found = json.loads(BASELINE.read_text(encoding="utf-8"))["results"]
    for path, entries in found.items():
        assert (ROOT / path).is_file(), path
        for entry in entries:
            assert entry["is_secret"] is False, (path, entry["line_number"])
