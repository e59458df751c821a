"""Where things lie: the project's root, and the main workspace behind DVC's temporary ones."""

from __future__ import annotations

from pathlib import Path

from nadir.ground.errors import NadirError

PARAMS_FILE = "params.yaml"


def project_root(start: Path | None = None) -> Path:
    """The folder with `dvc.yaml` and `params.yaml`, at `start` (default: here) or above it.

    Raises:
        NadirError: No such folder.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / PARAMS_FILE).is_file():
            return folder
    raise NadirError(
        "no Nadir project here (no folder with dvc.yaml and params.yaml)",
        where=str(here),
        fix="run the command inside a clone of the project",
    )


def main_workspace(root: Path | None = None) -> Path:
    """The workspace that owns `work/`, the source and the MLflow store.

    `dvc exp run --temp` and `--queue` check the project out below `.dvc/tmp/exps`; there, this is
    the workspace the experiment was started from, so that no image is encoded twice.
    """
    root = root or project_root()
    for parent in root.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return root


def work_folder(name: str) -> Path:
    """`work/<name>` of the main workspace: scratch space that no other file depends on."""
    folder = main_workspace() / "work" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def resolve_local(location: str) -> Path:
    """A path from `params.yaml`, relative ones resolved against the main workspace."""
    path = Path(location).expanduser()
    return path if path.is_absolute() else main_workspace() / path
