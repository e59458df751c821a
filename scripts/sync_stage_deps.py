"""Rewrite the code dependencies in dvc.yaml from the stages' imports (`make deps`).

Other dependencies, comments and order stay. With --check nothing is written, and the exit code
says whether the file is up to date.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from ruamel.yaml import YAML

from nadir.ground.files import write_text
from nadir.ground.workspace import project_root
from nadir.pipeline.code_dependencies import stage_code


def main() -> int:
    """Rewrite or check; returns the exit code."""
    root = project_root(Path(__file__).parent)
    path = root / "dvc.yaml"
    old = path.read_text(encoding="utf-8")
    new = synced(old, stage_code(root))
    if "--check" in sys.argv[1:]:
        if new != old:
            print("dvc.yaml does not list the code its stages run; `make deps` rewrites it")
        return int(new != old)
    if new != old:
        write_text(path, new)
    print("dvc.yaml: " + ("rewritten" if new != old else "up to date"))
    return 0


def synced(text: str, code: dict[str, list[str]]) -> str:
    """The text of dvc.yaml with each stage's code dependencies replaced.

    Args:
        text: The file.
        code: Paths by stage.
    """
    yaml = YAML()
    yaml.width = 200
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(text)
    for name, files in code.items():
        stage = tree["stages"][name]
        kept = [dep for dep in stage.get("deps", []) if not str(dep).startswith("src/")]
        if "deps" in stage:
            stage["deps"] = [*kept, *files]
        else:
            # After `params`, so that every stage reads in the same order.
            stage.insert(list(stage).index("params") + 1, "deps", [*kept, *files])
    buffer = io.StringIO()
    yaml.dump(tree, buffer)
    return buffer.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
