"""A stage's process loads its libraries without looking for garbage, and not what no stage uses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import gc, importlib.util, json, sys
import nadir.{package}
import nadir.compute.lean_start as lean
off = not gc.isenabled()
lean.loaded()
gone = [n for n in ("peft", "torchao") if importlib.util.find_spec(n) is None]
print(json.dumps([off, gc.isenabled(), gone]))
"""


@pytest.mark.parametrize(
    ("package", "started_by", "expected"),
    [
        ("stages", "-m", [True, True, ["peft", "torchao"]]),
        ("training", "-m", [True, True, []]),
        ("stages", "notebook.py", [False, True, []]),
        ("training", "notebook.py", [False, True, []]),
    ],
)
def test_only_a_process_of_its_own_starts_lean(
    package: str, started_by: str, expected: list[object]
) -> None:
    """While `-m` looks for its module, that is what `sys.argv` begins with."""
    program = f"import sys; sys.argv[0] = {started_by!r}" + PROGRAM.format(package=package)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == expected


def test_the_stages_call_ends_the_lean_start() -> None:
    """`python -m nadir.stages.…`: by the time that a stage works, garbage is collected."""
    program = (
        "import gc, sys; sys.argv = ['-m']; import nadir.stages; "
        "from nadir.stages.runner import run; run('bucket', lambda: print(gc.isenabled()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "True"


def test_libraries_that_count_what_is_left_have_nothing_to_tell_at_the_end() -> None:
    """DuckDB wrote sixty lines about leaks under whatever the stage had said last."""
    program = "import gc; gc.disable(); import duckdb; import nadir.compute.lean_start as lean; "
    done = subprocess.run(
        [sys.executable, "-c", program + "lean.loaded(); print(gc.get_freeze_count() > 0)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_every_program_of_the_two_rooms_ends_it(root: Path) -> None:
    """Else garbage would stay in it until its end."""
    rooms = (root / "src/nadir/stages", root / "src/nadir/training")
    texts = {path: path.read_text("utf-8") for room in rooms for path in room.rglob("*.py")}
    programs = {path.stem: text for path, text in texts.items() if '"__main__"' in text}
    assert {"encode", "encode_part", "redraw"} <= programs.keys()
    ends = re.compile(r"^    (?:loaded\(\)|run\()", re.MULTILINE)
    assert [name for name, text in programs.items() if not ends.search(text)] == []
