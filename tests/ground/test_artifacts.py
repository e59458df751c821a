"""The constants are the outputs of `dvc.yaml`, and nothing else names those."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground import artifacts
from nadir.tracking.lock_file import stage_definitions

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
NAMED = {str(value) for value in vars(artifacts).values() if isinstance(value, Path)}


def test_every_output_of_the_pipeline_has_its_constant_and_no_other_path_has_one() -> None:
    lists = (
        stage.get(key, [])
        for stage in stage_definitions(ROOT).values()
        for key in ("outs", "metrics", "plots")
    )
    entries = [entry for entries in lists for entry in entries]
    outputs = {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}
    assert outputs == NAMED
    assert {path.partition("/")[0] for path in outputs} == set(artifacts.FOLDERS)


def texts(module: Path) -> Iterator[str]:
    """Strings of a module that are no sentences: advice to users may name a file."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


def test_no_other_module_writes_out_the_path_of_an_output() -> None:
    modules = [*(ROOT / "src").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]
    modules.remove(ROOT / "src/nadir/ground/artifacts.py")
    found = [
        f"{module.relative_to(ROOT)}: {text}"
        for module in modules
        for text in texts(module)
        if any(text == path or text.startswith(f"{path}/") for path in NAMED)
    ]
    assert not found
