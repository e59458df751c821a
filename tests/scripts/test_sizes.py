"""Files and packages stay small enough to be read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_MODULES, MOST_LINES, MOST_TEST_LINES = 15, 300, 400


def test_a_package_has_fifteen_modules_at_most():
    source = ROOT / "src/nadir"
    folders = [folder for folder in source.rglob("*") if folder.is_dir()]
    counts = {
        str(folder.relative_to(source)): sum(f.stem != "__init__" for f in folder.glob("*.py"))
        for folder in folders
        if folder.name != "config"  # a module for each section of params.yaml
    }
    assert {name: count for name, count in counts.items() if count > MOST_MODULES} == {}


def test_files_are_short():
    lines = {
        str(path.relative_to(ROOT)): (len(path.read_text("utf-8").splitlines()), most)
        for folder, most in (("src", MOST_LINES), ("tests", MOST_TEST_LINES))
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: count for name, (count, most) in lines.items() if count > most} == {}
