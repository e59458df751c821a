"""The weights that a version holds: whether the store has them whole, and as a folder here."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.files import file_hash, read_json_object
from nadir.tracking.store.connection import connect, store_faults
from nadir.tracking.version_files.model_folder import WEIGHTS_FILE, WEIGHTS_FOLDER
from nadir.tracking.version_files.sending import stored_sizes

if TYPE_CHECKING:
    from mlflow import MlflowClient


@store_faults()
def holds_weights(model_id: str, root: Path) -> bool:
    """Whether the store has every file of a version's weights in its size.

    Args:
        model_id: The version's logged model.
        root: The project's root.

    Raises:
        NadirError: The store cannot be asked.
    """
    client = connect(root)
    parent = str(Path(WEIGHTS_FOLDER).parent)
    if WEIGHTS_FILE not in stored_sizes(client, model_id, parent):
        return False
    with tempfile.TemporaryDirectory() as folder:
        facts = read_json_object(_download(client, model_id, f"{parent}/{WEIGHTS_FILE}", folder))
    there = stored_sizes(client, model_id, WEIGHTS_FOLDER)
    return all(there.get(path) == file["bytes"] for path, file in facts["files"].items())


@store_faults()
def fetch_held(model_id: str, root: Path, target: Path) -> bool:
    """Bring a version's weights here as a folder; every file is read and compared.

    Args:
        model_id: The version's logged model.
        root: The project's root.
        target: The folder, which appears whole or not at all.

    Returns:
        Whether it is there now.

    Raises:
        NadirError: The store cannot be asked.
    """
    if not holds_weights(model_id, root):
        return False
    client = connect(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        parent = Path(WEIGHTS_FOLDER).parent
        facts = read_json_object(_download(client, model_id, f"{parent}/{WEIGHTS_FILE}", folder))
        found = _download(client, model_id, WEIGHTS_FOLDER, folder)
        if any(file_hash(found / path) != file["sha256"] for path, file in facts["files"].items()):
            return False
        shutil.rmtree(target, ignore_errors=True)
        found.rename(target)
    return True


def _download(client: MlflowClient, model_id: str, path: str, folder: str) -> Path:
    import mlflow.artifacts

    place = client.get_logged_model(model_id).artifact_location
    return Path(
        mlflow.artifacts.download_artifacts(
            f"{place}/{path}", dst_path=folder, tracking_uri=client.tracking_uri
        )
    )
