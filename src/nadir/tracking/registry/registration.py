"""A trained and evaluated checkpoint becomes a model version, exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.ground.workspace import project_root
from nadir.tracking.lineage import lineage_tags
from nadir.tracking.lock_file import output_hash
from nadir.tracking.registry.aliases import point
from nadir.tracking.registry.evaluations import keep_current
from nadir.tracking.registry.move_log import Cause, begin_move, end_move, settle_log
from nadir.tracking.registry.publish import (
    gate_verdict,
    publish_evaluation,
    publish_page,
    training_run_id,
)
from nadir.tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    PENDING_TAG,
    PREVIOUS,
    Version,
    alias_table,
    model_name,
    only_version,
    with_aliases,
)
from nadir.tracking.revision import save_experiment
from nadir.tracking.runs.journal import catch_up
from nadir.tracking.runs.pipeline_run import set_tags
from nadir.tracking.store.connection import connect, missing_is_none, store_faults
from nadir.tracking.store.lock import registry_lock
from nadir.tracking.version_files.making import make_logged_model, use_up

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

    from nadir.tracking.store.lock import Hold


@dataclass(frozen=True)
class Registration:
    """What registering came to.

    Attributes:
        version: The model version of the current checkpoint.
        created: Whether it was made now.
        published: Whether its evaluation was logged now.
        verdict: The gate's.
    """

    version: Version
    created: bool
    published: bool
    verdict: str


@store_faults()
def register(root: Path | None = None, *, fingerprint: str, flow_run_id: str = "") -> Registration:
    """Give the current checkpoint a model version, unless it has one.

    By `register.weights` the version holds the checkpoint and the code that draws with it, or
    DVC's hash of the checkpoint. A new version becomes `challenger`, and `champion` when there is
    none yet and the gate says `promote`.

    Args:
        root: The project's root.
        fingerprint: Of the `train` stage, from its entry in `dvc.lock`.
        flow_run_id: Prefect's id of the flow run.

    Raises:
        NadirError: There is no trained and evaluated checkpoint, or no store.
    """
    root = root or project_root()
    report_path = root / artifacts.EVALUATION
    if not report_path.is_file():
        raise NadirError(
            "there is no evaluated checkpoint to register",
            where=str(report_path),
            fix="`nadir run`",
        )
    verdict = gate_verdict(read_json(report_path))
    client = connect(root)
    catch_up(root)
    name = model_name(root)
    with registry_lock(client, name) as hold:
        run_id = training_run_id(client, root, fingerprint)
        _settle(client, run_id)
        published = publish_evaluation(client, run_id, root)
        md5 = output_hash(root, artifacts.CHECKPOINT) or ""
        if md5:
            keep_current(root, md5)
        version = only_version(client, name, md5=md5, fingerprint=fingerprint)
        created = version is None
        if version is None:
            _create(client, name, run_id, root, fingerprint, flow_run_id, hold)
            version = only_version(client, name, md5=md5, fingerprint=fingerprint)
        if version is None:
            raise NadirError(
                f"`{name}` has no version for this checkpoint right after one was made",
                where=client.tracking_uri,
                fix="look at the registry; its tags may have been edited meanwhile",
            )
        if published or created:
            publish_page(client, run_id, root, version)
        hold.check()
        version = _set_aliases(client, version, verdict, flow_run_id)
        # Last, so that a move which was cut off goes on with its entry.
        settle_log(client, name)
    return Registration(version, created, published, verdict)


def _settle(client: MlflowClient, run_id: str) -> None:
    """Call the run of a finished training finished, whatever an attempt before it was cut off by.

    Only `train` writes a checkpoint, when it has made its last step; a later attempt that found it
    finished had nothing more to tell MLflow.
    """
    if client.get_run(run_id).info.status != "FINISHED":
        client.set_terminated(run_id, "FINISHED")


def _create(
    client: MlflowClient,
    name: str,
    run_id: str,
    root: Path,
    fingerprint: str,
    flow_run_id: str,
    hold: Hold,
) -> None:
    experiment = save_experiment(root, f"train-{fingerprint[:12]}")
    tags = lineage_tags(
        root, fingerprint=fingerprint, flow_run_id=flow_run_id, experiment=experiment
    )
    set_tags(client, run_id, tags)
    _ensure_model(client, name)
    # Whole in the store before there is a version of it.
    model, held = make_logged_model(client, name, run_id, tags, root)
    hold.check()  # sending may have taken hours
    # Tags travel in the same call, so no version ever exists without the ones it is found by.
    made = client.create_model_version(
        name,
        source=model.artifact_location,
        run_id=run_id,
        tags={**tags, **held, PENDING_TAG: "true"},
        model_id=model.model_id,
    )
    use_up(client, model.model_id, f"{name}/{made.version}")


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    known = None
    with missing_is_none():
        known = client.get_registered_model(name)
    if known is not None:
        return
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        # Another machine was quicker.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _set_aliases(client: MlflowClient, version: Version, verdict: str, flow_run_id: str) -> Version:
    number = str(version.version)
    pending = PENDING_TAG in version.tags
    aliases = alias_table(client, version.name)
    # Where the one who made it was killed, a newer one may be the challenger by now, or this one
    # may have been promoted by its number.
    taken = {aliases.get(CHAMPION), aliases.get(PREVIOUS)}
    if pending and int(aliases.get(CHALLENGER, 0)) < version.version and number not in taken:
        point(client, version.name, CHALLENGER, aliases.get(CHALLENGER), number)
        aliases[CHALLENGER] = number
    # Where there is a `previous`, somebody took the champion away, and somebody names the next.
    if not {CHAMPION, PREVIOUS} & aliases.keys() and verdict == "promote":
        _crown(client, version, aliases, flow_run_id)
    if pending:
        client.delete_model_version_tag(version.name, number, PENDING_TAG)
    return with_aliases(client, version)


def _crown(
    client: MlflowClient, version: Version, aliases: dict[str, str], flow_run_id: str
) -> None:
    """Make the first version live that passed the gate."""
    wanted = {**aliases, CHAMPION: str(version.version)}
    reason = "the first version that passed the gate"
    cause = Cause("first", "promote", reason, flow_run_id)
    move = begin_move(client, version.name, aliases, wanted, cause)
    point(client, version.name, CHAMPION, None, wanted[CHAMPION])
    if move is not None:
        end_move(client, version.name, move, wanted)
