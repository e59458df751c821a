"""The logged model that a version is made of, whole in the store before the version is made."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.config.reader import read_section
from nadir.config.register import RegisterParams
from nadir.ground import artifacts
from nadir.ground.files import canonical_hash
from nadir.ground.workspace import PARAMS_FILE
from nadir.tracking.lineage import (
    COPY_TAG,
    FINGERPRINT_TAG,
    LICENCE_TAG,
    MODEL_TAG,
    OUTPUT_TAG,
)
from nadir.tracking.store.patience import is_server
from nadir.tracking.version_files.code import served_code
from nadir.tracking.version_files.model_folder import WEIGHTS_FOLDER, save_copy, save_pointer
from nadir.tracking.version_files.sending import SENT_TAG, VERSION_TAG, send_files, unfinished
from nadir.tracking.version_files.weights import Weights, wants_copy, weights_to_send

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel


_LARGE_BYTES = 200_000_000


def make_logged_model(
    client: MlflowClient, name: str, run_id: str, tags: Mapping[str, str], root: Path
) -> tuple[LoggedModel, dict[str, str]]:
    """Send what a version is made of to the store; the version itself comes after.

    An attempt that was killed is gone on with: files that have arrived are not sent again.

    Args:
        client: Of the store.
        name: The registered model.
        run_id: The training run.
        tags: The version's lineage.
        root: The project's root.

    Returns:
        The logged model, and what the version's tags are to say of it.

    Raises:
        NadirError: A file did not arrive whole.
    """
    params = read_section("register", RegisterParams, root / PARAMS_FILE)
    with _weights(client, params, tags[OUTPUT_TAG], root) as weights:
        # Other tags may differ from attempt to attempt, such as the commit of the experiment.
        made_of: dict[str, Any] = {key: tags[key] for key in (OUTPUT_TAG, FINGERPRINT_TAG)}
        made_of["name"] = name
        if weights is not None:
            made_of |= {"weights": weights.facts, "code": served_code().package}
        digest = canonical_hash(made_of)
        model = _logged_model(client, name, run_id, {**tags, SENT_TAG: digest}, weights)
        with tempfile.TemporaryDirectory() as folder:
            if weights is None:
                saved = save_pointer(Path(folder), model.model_id, tags[OUTPUT_TAG], root)
            else:
                _say_when_large(weights.size)
                send_files(client, model.model_id, weights.folder, below=WEIGHTS_FOLDER)
                on_s3 = model.artifact_location.startswith("s3:")
                saved = save_copy(Path(folder), model.model_id, weights, on_s3=on_s3)
            client.log_model_artifacts(model.model_id, str(saved))
    if str(model.status) != "READY":
        client.finalize_logged_model(model.model_id, "READY")
    held = {MODEL_TAG: model.model_id}
    if weights is not None:
        held[COPY_TAG] = weights.facts["precision"]
    if params.licence is not None:
        held[LICENCE_TAG] = params.licence
    return model, held


def _say_when_large(size: int) -> None:
    """Whoever waits for long should know what for."""
    if size >= _LARGE_BYTES:
        sys.stderr.write(f"register: sending {size / 1e9:.1f} GB of weights to MLflow\n")
        sys.stderr.flush()


def use_up(client: MlflowClient, model_id: str, version: str) -> None:
    """Note on a logged model which version it became: no other version is made of its files."""
    client.set_logged_model_tags(model_id, {VERSION_TAG: version})


@contextlib.contextmanager
def _weights(
    client: MlflowClient, params: RegisterParams, md5: str, root: Path
) -> Iterator[Weights | None]:
    """What the version is to hold; None for a pointer."""
    if not wants_copy(params, server=is_server(client.tracking_uri)):
        yield None
        return
    with weights_to_send(root / artifacts.CHECKPOINT, md5, params.precision, root) as weights:
        yield weights


def _logged_model(
    client: MlflowClient,
    name: str,
    run_id: str,
    tags: Mapping[str, str],
    weights: Weights | None,
) -> LoggedModel:
    experiment = client.get_run(run_id).info.experiment_id
    begun = unfinished(client, experiment, run_id, tags[SENT_TAG])
    if begun is not None:
        client.set_logged_model_tags(begun.model_id, dict(tags))
        return begun
    return client.create_logged_model(
        experiment,
        name=name,
        source_run_id=run_id,
        tags=dict(tags),
        model_type="copy" if weights else "pointer",
    )
