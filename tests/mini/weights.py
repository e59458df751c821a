"""Weights in DVC's cache without a training, for tests of what is done with them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from nadir.tracking.lineage import OUTPUT_TAG
from nadir.tracking.registry.judgements import AGAINST_OUTPUT_TAG, AGAINST_TAG, VERDICT_TAG
from nadir.tracking.store.connection import experiment_id

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient


def cached(root: Path, content: bytes, ending: str = "") -> str:
    """Put an object into the cache; returns its hash."""
    name = hashlib.md5(content).hexdigest() + ending
    path = root / ".dvc/cache/files/md5" / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)
    return name


def cached_weights(root: Path, text: str) -> str:
    """Put a checkpoint of one file into the cache; returns the folder's hash."""
    entry = {"md5": cached(root, text.encode()), "relpath": "nadir.json"}
    return cached(root, json.dumps([entry]).encode(), ".dir")


def add_version(
    client: MlflowClient, root: Path, *, verdict: str = "promote", weights: str | None = None
) -> int:
    """A version as `register` leaves it: its run with a verdict, itself the challenger."""
    run = client.create_run(experiment_id(client, root), tags={"nadir.gate": verdict})
    if not client.search_registered_models():
        client.create_registered_model("nadir")
    md5 = weights or cached_weights(root, run.info.run_id)
    version = client.create_model_version(
        "nadir", "file:///nothing", run.info.run_id, tags={OUTPUT_TAG: md5}
    )
    client.set_registered_model_alias("nadir", "challenger", version.version)
    return int(version.version)


def judged_better(
    client: MlflowClient, number: int, verdict: str = "promote", *, name: str = "nadir"
) -> None:
    """Mark a version as judged beside the champion of now."""
    champion = client.get_model_version_by_alias(name, "champion")
    tags = {
        VERDICT_TAG: verdict,
        AGAINST_TAG: champion.version,
        AGAINST_OUTPUT_TAG: champion.tags[OUTPUT_TAG],
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, str(number), key, value)
