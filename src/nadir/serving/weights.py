"""Where the weights of a loaded version are.

A copy brings them along. A pointer holds DVC's hash of its checkpoint alone: it is loaded inside a
clone of the project, the current folder or the one that `NADIR_PROJECT` names, which finds the
weights by that hash in the workspace, DVC's cache or its remote.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.files import file_hash, read_json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT_VARIABLE = "NADIR_PROJECT"


def weights_folder(files: Mapping[str, str]) -> Path:
    """The diffusers folder of a version, every file of it read and compared.

    Args:
        files: Paths of the version's artifacts, by MLflow's names.

    Raises:
        NadirError: A file is damaged or missing, or a pointer's weights are nowhere.
    """
    if "weights" in files:
        return _held(Path(files["weights"]))
    # A copy is without these rooms.
    from nadir.ground.workspace import project_root
    from nadir.pipeline.storage.cache import materialise

    pointer = read_json_object(Path(files["pointer"]))
    return materialise(pointer["md5"], project_root(Path(os.environ.get(PROJECT_VARIABLE, "."))))


def _held(facts: Path) -> Path:
    folder = facts.with_suffix("")
    wrong = [
        name
        for name, file in read_json_object(facts)["files"].items()
        if not (folder / name).is_file() or file_hash(folder / name) != file["sha256"]
    ]
    if wrong:
        raise NadirError(
            f"files of the model are missing or damaged: {', '.join(sorted(wrong)[:3])}",
            where=str(folder),
            fix="load it again; if it stays so, the store has lost them: register it once more in "
            "the clone that trained it, after deleting the version",
        )
    return folder
