"""What `make audit` says of known faults, and which of them it lets pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scripts.audit import accepted_faults, told

if TYPE_CHECKING:
    from pathlib import Path

FAULT = {"id": "PYSEC-2020-1", "aliases": ["CVE-2020-1"], "fix_versions": ["2.0"]}
SOUND: dict[str, Any] = {"name": "sound", "version": "1.0", "vulns": []}
FAULTY: dict[str, Any] = {"name": "faulty", "version": "1.0", "vulns": [FAULT]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("found", "accepted", "code", "said"),
    [
        ([SOUND], {}, 0, "1 packages looked up at pypi, 0 with known faults\n"),
        ([FAULTY], {}, 1, "faulty 1.0: PYSEC-2020-1, fixed in 2.0\n"),
        ([FAULTY], {"PYSEC-2020-1": "never called"}, 0, "PYSEC-2020-1, accepted: never called\n"),
        # The other service may know it by its other name.
        ([FAULTY], {"CVE-2020-1": "never called"}, 0, "CVE-2020-1, accepted: never called\n"),
        ([FAULTY], {"CVE-2020-2": "another"}, 1, "faulty 1.0: PYSEC-2020-1, fixed in 2.0\n"),
        ([SOUND], {"CVE-2020-1": "gone"}, 1, "CVE-2020-1 is accepted in pyproject.toml and"),
        ([SOUND, UNKNOWN], {}, 1, "not looked up: 1 packages (unknown)\n"),
    ],
)
def test_only_what_somebody_has_looked_into_passes(
    found: list[dict[str, Any]],
    accepted: dict[str, str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A fault by any of its names; one that is accepted for nothing is told too."""
    assert told(found, "pypi", accepted) == code
    assert said in capsys.readouterr().out


LIST = "[tool.nadir.audit.accepted]\n"


def test_the_list_is_read(tmp_path: Path) -> None:
    """By id, with what somebody wrote."""
    file = tmp_path / "pyproject.toml"
    file.write_text(f'{LIST}CVE-2020-1 = "never called"\n')
    assert accepted_faults(file) == {"CVE-2020-1": "never called"}


def test_a_fault_is_accepted_for_a_reason_only(tmp_path: Path) -> None:
    """Else nobody could look into it again."""
    file = tmp_path / "pyproject.toml"
    file.write_text(f'{LIST}CVE-2020-1 = " "\n')
    with pytest.raises(ValueError, match="accepts CVE-2020-1 and does not say why"):
        accepted_faults(file)


def test_the_project_has_the_list(root: Path) -> None:
    """Where the script looks for it."""
    assert isinstance(accepted_faults(root / "pyproject.toml"), dict)
