"""Evaluations by protocol and weights: kept in `work/evaluations`, and with the run that trained.

Weights that were drawn by a protocol are never drawn by it again.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_folder, link_tree, read_json_object
from nadir.ground.workspace import main_workspace

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

    from nadir.tracking.registry.versions import Version

TABLE = artifacts.EVALUATION_TABLE.name
PICTURES = artifacts.SAMPLES.name


def evaluation_folder(root: Path, protocol_id: str, md5: str) -> Path:
    """Where an evaluation is kept: the table, and the folder of pictures."""
    return main_workspace(root) / "work" / "evaluations" / protocol_id / md5.removesuffix(".dir")


def keep_current(root: Path, md5: str) -> str | None:
    """Keep the evaluation that the workspace has.

    Args:
        root: The project's root.
        md5: DVC's hash of the workspace's checkpoint.

    Returns:
        Its protocol; None when it names none.
    """
    protocol_id = read_json_object(root / artifacts.EVALUATION).get("protocol_id")
    if not isinstance(protocol_id, str):
        return None
    folder = evaluation_folder(root, protocol_id, md5)
    if not folder.is_dir():
        with atomic_folder(folder) as new:
            shutil.copyfile(root / artifacts.EVALUATION_TABLE, new / TABLE)
            link_tree(root / artifacts.SAMPLES, new / PICTURES)
    return protocol_id


def kept_evaluation(
    client: MlflowClient, root: Path, version: Version, protocol_id: str
) -> Path | None:
    """The evaluation of a version by a protocol: from the workspace, else from its run.

    Args:
        client: Of the store.
        root: The project's root.
        version: Whose.
        protocol_id: Which.

    Returns:
        Its folder; None where it was never drawn by this protocol, or is kept elsewhere.
    """
    folder = evaluation_folder(root, protocol_id, version.md5)
    if folder.is_dir():
        return folder
    files = {file.path for file in client.list_artifacts(version.run_id)}
    if TABLE not in files:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(client.download_artifacts(version.run_id, TABLE, scratch))
        if protocol_of(table) != protocol_id:
            return None
        with atomic_folder(folder) as new:
            shutil.copyfile(table, new / TABLE)
            if PICTURES in files:
                client.download_artifacts(version.run_id, PICTURES, str(new))
    return folder


def protocol_of_run(client: MlflowClient, version: Version) -> str | None:
    """The protocol by which the run of a version evaluated it; None where it kept no evaluation."""
    if TABLE not in {file.path for file in client.list_artifacts(version.run_id)}:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        return protocol_of(Path(client.download_artifacts(version.run_id, TABLE, scratch)))


def protocol_of(table: Path) -> str | None:
    """The protocol that the rows of a table name; None of an empty or damaged one."""
    try:
        ids = set(read_evaluation(table)["protocol_id"])
    except NadirError:
        return None
    return str(ids.pop()) if len(ids) == 1 else None


def read_evaluation(path: Path) -> pd.DataFrame:
    """The rows of an evaluation.

    Raises:
        NadirError: The file is damaged.
    """
    # Imported here, since most that look for evaluations read none, and this imports pandas.
    import pyarrow as pa

    from nadir.data.tables import read_table
    from nadir.evaluation.results import EVALUATION

    try:
        # A metric's rows are looked for hundreds of times; numbers are compared faster than names.
        frame: pd.DataFrame = (
            read_table(path, EVALUATION).to_pandas().astype({"metric": "category"})
        )
    except (pa.ArrowException, OSError) as error:
        raise NadirError(
            f"the table of an evaluation cannot be read ({str(error).splitlines()[0]})",
            where=str(path),
            fix="delete the folder it lies in and judge again: `nadir promote --judge`",
        ) from error
    return frame
