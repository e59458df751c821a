"""What failed is run again by whole files, and never everything by mistake."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/failed_test_files.py"
failed_files = runpy.run_path(str(SCRIPT))["failed_files"]

TESTS = """
import pytest

@pytest.mark.parametrize("n", [0, 1])
def test_it(n):
    assert {}
"""


def test_the_files_of_what_failed_are_named_once(tmp_path: Path) -> None:
    (tmp_path / "test_good.py").write_text(TESTS.format("True"), encoding="utf-8")
    (tmp_path / "test_bad.py").write_text(TESTS.format("False"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "--rootdir", str(tmp_path)]
    done = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1
    record = tmp_path / ".pytest_cache/v/cache/lastfailed"
    assert failed_files(record) == ["test_bad.py"]


def test_no_record_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    record = tmp_path / "lastfailed"
    with pytest.raises(LookupError, match="make test"):
        failed_files(record)
    record.write_text("{}", encoding="utf-8")
    with pytest.raises(LookupError, match="make test"):
        failed_files(record)
