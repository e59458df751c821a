"""What the live model was trained on, as its run kept it."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground import artifacts
from nadir.tracking.registry.versions import CHAMPION, alias_table, model_name, resolve_version
from nadir.tracking.store.connection import connect, store_exists, store_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

    from nadir.tracking.registry.versions import Version


@store_faults()
def champion_dataset(root: Path) -> tuple[Version, dict[str, Any]] | None:
    """The champion, and the profile of its dataset; None where there is no such thing.

    Args:
        root: The project's root.

    Raises:
        NadirError: The store refuses, or is away.
    """
    if not store_exists(root):
        return None
    client, name = connect(root), model_name(root)
    number = alias_table(client, name).get(CHAMPION)
    if number is None:
        return None
    version = resolve_version(f"models:/{name}/{number}", root)
    with profile_of_run(client, version.run_id) as file:
        kept = None if file is None else json.loads(file.read_text(encoding="utf-8"))
    return (version, kept) if isinstance(kept, dict) and kept else None


@contextlib.contextmanager
def profile_of_run(client: MlflowClient, run_id: str) -> Iterator[Path | None]:
    """The profile of the dataset that a run was trained on; None of a run that kept none."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {file.path for file in client.list_artifacts(run_id)}
        there = artifacts.PROFILE.name in kept
        yield (
            Path(client.download_artifacts(run_id, artifacts.PROFILE.name, folder))
            if there
            else None
        )
