"""Files that go to the store piece by piece: what has arrived is not sent again.

Each is streamed from the disk, whatever its size. A version is registered only when all have
arrived, so a kill before leaves files without a version, which the next attempt goes on from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.tracking.store.patience import time_to_send

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

SENT_TAG = "nadir.files"
"""On a logged model: the hash of what it consists of, by which an unfinished one is known again."""
VERSION_TAG = "nadir.version"
"""On a logged model: the version that was made of it. Its files may be damaged by now, so whoever
registers again after that version was deleted sends them again."""


def unfinished(
    client: MlflowClient, experiment_id: str, run_id: str, digest: str
) -> LoggedModel | None:
    """A logged model of the same run and content that an attempt before this one began.

    Of it no version was made, as far as it says.

    Args:
        client: Of the store.
        experiment_id: Where it would be.
        run_id: The run that trained it.
        digest: Of the content.
    """
    found = client.search_logged_models(
        [experiment_id],
        filter_string=f"source_run_id = '{run_id}' AND tags.`{SENT_TAG}` = '{digest}'",
    )
    return next((one for one in found if VERSION_TAG not in one.tags), None)


def send_files(client: MlflowClient, model_id: str, folder: Path, *, below: str = "") -> None:
    """Send the files that the store lacks or has in another size.

    Args:
        client: Of the store.
        model_id: The logged model.
        folder: Holds the files.
        below: Path in the model; "" is its root.

    Raises:
        NadirError: A file did not arrive whole.
    """
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    for name in _lacking(client, model_id, below, sizes):
        parent = "/".join(part for part in (below, *name.split("/")[:-1]) if part)
        with time_to_send(sizes[name]):
            client.log_model_artifact(model_id, str(folder / name), parent or None)
    lost = _lacking(client, model_id, below, sizes)
    if lost:
        raise NadirError(
            f"the store has not kept what was sent: {', '.join(lost[:3])}",
            where=client.tracking_uri,
            fix="see the disk and the log of the MLflow server, then run the same command again",
        )


def stored_sizes(client: MlflowClient, model_id: str, below: str) -> dict[str, int]:
    """Bytes of the files that the store has, by path below a folder of the model."""
    found: dict[str, int] = {}
    folders = [below]
    while folders:
        for file in client.list_logged_model_artifacts(model_id, folders.pop() or None):
            if file.is_dir:
                folders.append(file.path)
            else:
                found[file.path.removeprefix(f"{below}/")] = int(file.file_size or 0)
    return found


def _lacking(client: MlflowClient, model_id: str, below: str, sizes: dict[str, int]) -> list[str]:
    there = stored_sizes(client, model_id, below)
    return [name for name, size in sizes.items() if there.get(name) != size]
