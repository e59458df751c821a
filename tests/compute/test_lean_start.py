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
def gone():
    return [n for n in ("peft", "scipy", "torchao") if importlib.util.find_spec(n) is None]
off, before = not gc.isenabled(), gone()
lean.loaded()
print(json.dumps([off, gc.isenabled(), before, gone()]))
"""


@pytest.mark.parametrize(
    ("package", "started_by", "expected"),
    [
        ("stages", "-m", [True, True, ["peft", "scipy", "torchao"], ["peft", "torchao"]]),
        ("training", "-m", [True, True, ["peft", "scipy", "torchao"], []]),
        ("stages", "notebook.py", [False, True, [], []]),
        ("training", "notebook.py", [False, True, [], []]),
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


AMIDST = """
import json, sys; sys.argv[0] = {started_by!r}
import gc, nadir.stages, nadir.compute.lean_start as lean
lean.loaded()
with lean.lean():
    import diffusers.loaders.single_file_utils
    seen = [gc.isenabled(), "scipy.stats" in sys.modules]
import scipy.stats
print(json.dumps([*seen, gc.isenabled()]))
"""


@pytest.mark.parametrize(
    ("started_by", "expected"),
    [("-m", [False, False, True]), ("notebook.py", [True, True, True])],
)
def test_an_import_amidst_the_work_is_lean_too(started_by: str, expected: list[bool]) -> None:
    """Others do without SciPy; who wants it has it."""
    done = subprocess.run(
        [sys.executable, "-c", AMIDST.format(started_by=started_by)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == expected


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
