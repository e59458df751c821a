"""The pipeline as a Prefect flow: one task per DVC stage, in DVC's order.

DVC alone decides what is skipped, so tasks have no cache of their own. They are called directly
and never submitted: only then does a cancelled flow reach the running stage, which saves its work.

    nadir run                                   # a temporary server, this process
    prefect deploy --all                        # with PREFECT_API_URL: see prefect.yaml
"""

from __future__ import annotations

import contextlib
import logging
import os
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.logs.entry import bind, message_of, read_entry
from nadir.ground.logs.setup import begin, record_fields
from nadir.ground.secrets import mask_logs
from nadir.ground.workspace import project_root
from nadir.pipeline.console import PipelineConsole
from nadir.pipeline.graph import import_dvc, stage_order
from nadir.pipeline.listing_first import Earlier
from nadir.pipeline.opening import open_session
from nadir.pipeline.page_image import data_uri
from nadir.pipeline.processes.lock import WorkspaceTakenError
from nadir.pipeline.processes.signals import interrupted_when_told_to_stop
from nadir.pipeline.record import REGISTER
from nadir.pipeline.servers.proxies import without_unusable_proxies
from nadir.pipeline.servers.temporary_server import prefect_environment, temporary_server
from nadir.pipeline.status import read_status, results_table
from nadir.tracking.store.connection import import_mlflow, is_transient

# Before Prefect is imported, which reads its settings and announces itself while it loads.
os.environ.update(prefect_environment())

from httpx import HTTPStatusError
from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_image_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

    from nadir.pipeline.processes.process import StageResult
    from nadir.pipeline.session import Session

mask_logs()
begin()

# What `nadir run` found before it needed a flow.
_earlier: ContextVar[Earlier | None] = ContextVar("earlier", default=None)
# Set by `run_pipeline`; a worker prints Prefect's own log, which has every line already.
_console: ContextVar[PipelineConsole | None] = ContextVar("console", default=None)
# Whether the server ends with this run.
_temporary: ContextVar[bool] = ContextVar("temporary", default=False)

_DRAIN_S = 10.0  # for what Prefect's own threads still have to tell the server
VALIDATE = "validate"
SAMPLES = artifacts.SAMPLES / "grid.png"


def run_pipeline(until: str | None = None, earlier: Earlier | None = None) -> dict[str, Any]:
    """Run the flow in this process; what `nadir run` calls.

    Args:
        until: Run only this stage and what it needs; None runs all and registers.
        earlier: Stages that ran just now; they are not run again.

    Returns:
        The status afterwards, as `nadir status --json` prints it.

    Raises:
        NadirError: A stage failed, another pipeline holds the workspace, or the Prefect server that
            `PREFECT_API_URL` names cannot be reached, or the temporary one cannot start.
    """
    if until not in {None, REGISTER}:
        stage_order(project_root(), until)  # a wrong name needs no server
    console = PipelineConsole()
    tokens = _console.set(console), _earlier.set(earlier)
    try:
        with interrupted_when_told_to_stop(), prefect_server(console.note), _server_faults():
            result: dict[str, Any] = training_pipeline(until=until)
    finally:
        _console.reset(tokens[0])
        _earlier.reset(tokens[1])
    return result


@flow(name="training-pipeline", persist_result=False, validate_parameters=True)
def training_pipeline(until: str | None = None) -> dict[str, Any] | State[Any]:
    """Run every stage that changed, then register the model.

    Args:
        until: Run only this stage and what it needs; None runs all and registers.

    Returns:
        The status afterwards. A run of a deployment that meets another pipeline in the workspace is
        cancelled, with a message: there is nothing to correct, and the next one will do.
    """
    try:
        return _run(until)
    except WorkspaceTakenError as error:
        if _console.get() is not None:
            raise
        return Cancelled(message=f"nothing done: {error.what}")


def _run(until: str | None) -> dict[str, Any]:
    root = project_root()
    os.chdir(root)
    console = _console.get() or PipelineConsole(silent=True)
    earlier = _earlier.get() or Earlier()
    bind(flow_run=str(flow_run.id))
    with open_session(
        root,
        until=until,
        flow_run_id=flow_run.id,
        name=flow_run.name,
        earlier=earlier.results,
    ) as session:
        for note in session.notes:
            get_run_logger().warning("%s", note)
            if not earlier.results:
                console.note(note)
        if session.git.changed and _console.get() is None:
            get_run_logger().warning(
                "nobody watches this run, and it is not of commit %s alone; changed: %s",
                session.git.commit[:12],
                session.git.changed_files(),
            )
        for stage in session.stages:
            _stage_task(stage)(session, stage, console)
        if session.registers:
            register_model(session, console, announces=not _temporary.get())
    bind(stage=None)
    status = read_status(root)
    try:
        _publish(status, root)
    except Exception as error:  # noqa: BLE001 - what was computed and registered stays so
        get_run_logger().warning("the results are not shown on Prefect's page: %s", error)
    return status


def _stage_task(stage: str) -> Task[..., None]:
    return run_one_stage.with_options(name=stage, task_run_name=stage)


@task(cache_policy=NO_CACHE, persist_result=False)
def run_one_stage(session: Session, stage: str, console: PipelineConsole) -> None:
    """One DVC stage: its lines go to Prefect's log, its progress to an artifact.

    No retries: a stage fails for a reason that stays, and one that was killed is resumed by
    running the pipeline again.
    """
    logger = get_run_logger()
    if stage in session.results:
        _tell_earlier(session.results[stage])
        return
    progress = _ProgressBar(stage)

    def line(text: str) -> None:
        _tell(text)
        console.line(text)

    try:
        result = session.run(stage, on_line=line, on_event=progress.event)
    finally:
        if stage in session.results:
            console.ended(session.results[stage])
    progress.finish()
    if stage == VALIDATE and session.drift and session.drift.over and not _temporary.get():
        emit_event(**session.drift.event())  # a temporary server has no automation to start
    logger.info("%s: %s in %.1f s", stage, result.state, result.duration_s)


def _tell(line: str) -> None:
    """A line of a stage in Prefect's log; of an entry (`NADIR_LOG=json`) its text and gravity."""
    found = read_entry(line) or {}
    level = logging.getLevelNamesMapping().get(str(found.get("level")).upper(), logging.INFO)
    own = {name: found[name] for name in ("stage", "step") if name in found}
    get_run_logger().log(level, "%s", message_of(line), extra=record_fields(**own))


def _tell_earlier(result: StageResult) -> None:
    """The log of a stage that ran before the flow."""
    earlier = _earlier.get() or Earlier()
    for line in earlier.lines.get(result.stage, []):
        _tell(line)
    get_run_logger().info("%s: %s in %.1f s", result.stage, result.state, result.duration_s)


def _worth_a_retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and is_transient(error)


@task(
    name=REGISTER,
    task_run_name=REGISTER,
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=_worth_a_retry,
)
def register_model(session: Session, console: PipelineConsole, *, announces: bool) -> None:
    """Find or make the model version; repeating it changes nothing, so it may be retried.

    Nobody listens on a temporary server, so a challenger's event waits for one that stays.
    """

    def say(line: str) -> None:
        get_run_logger().info("%s", line)
        console.note(line)

    session.register(say)
    for line in session.registering.told():
        say(line)
    session.registering.share(say, git_fault_is_told=bool(session.notes))
    news = session.registering.news() if announces else None
    if news is not None:
        emit_event(**news)
        session.registering.announced()


class _ProgressBar:
    """A progress artifact, made when the stage first says how far it is."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._id: UUID | None = None

    def event(self, event: dict[str, Any]) -> None:
        if event["kind"] != "progress" or not event["total"]:
            return
        self._show(100.0 * event["done"] / event["total"], f"{event['total']} {event['unit']}")

    def finish(self) -> None:
        if self._id is not None:
            self._show(100.0)

    def _show(self, percent: float, of: str = "") -> None:
        try:
            if self._id is None:
                key, text = self._stage.replace("_", "-"), f"{self._stage}: {of}"
                self._id = create_progress_artifact(percent, key=key, description=text)
            else:
                update_progress_artifact(self._id, percent)
        except Exception as error:  # noqa: BLE001 - a server that is away must not end a training
            get_run_logger().warning("progress is not shown: %s", error)


def _publish(status: dict[str, Any], root: Path) -> None:
    """Artifacts of the flow run: stages, metrics per CFG scale, samples."""
    stages = [{k: row[k] for k in ("name", "state", "duration_s")} for row in status["stages"]]
    create_table_artifact(stages, key="stages", description="What became of each stage")
    if status["metrics"]:
        model = status["model"]
        text = f"`{model['name']}` version {model['version']}: {', '.join(model['aliases'])}"
        create_table_artifact(results_table(status), key="results", description=text)
    samples = root / SAMPLES
    if samples.is_file():
        text = f"Samples: {SAMPLES}"
        create_image_artifact(data_uri(samples), key="samples", description=text)


@contextlib.contextmanager
def prefect_server(say: Callable[[str], None]) -> Iterator[None]:
    """The Prefect server that the settings name, else one for the length of the block."""
    named = PREFECT_API_URL.value()
    with without_unusable_proxies(named):
        if named:
            yield
            return
        token = _temporary.set(True)
        try:
            with (
                temporary_server(project_root(), say=say, meanwhile=_import_the_rest) as url,
                temporary_settings({PREFECT_API_URL: url}),
            ):
                try:
                    yield
                finally:
                    for worker in (EventsWorker, APILogWorker):
                        worker.drain_all(timeout=_DRAIN_S)
        finally:
            _temporary.reset(token)


def _import_the_rest() -> None:
    """What a run needs sooner or later and takes seconds to import: DVC and MLflow."""
    import_dvc()
    import_mlflow()


@contextlib.contextmanager
def _server_faults() -> Iterator[None]:
    """Prefect's own errors when its server is away, fails or refuses, as one with a remedy."""
    try:
        yield
    except NadirError:
        raise  # it says already whose fault it is
    except Exception as error:
        told = _of_server(error)
        if told is None:
            raise
        where = os.environ.get("PREFECT_API_URL", "the temporary server")
        raise NadirError(
            told[0], where=where, fix=f"{told[1]}. Finished stages are kept"
        ) from error


def _of_server(error: Exception) -> tuple[str, str] | None:
    """What is wrong with Prefect's server and what to do; None where it is something else."""
    status = _status(error)
    if status in {401, 403}:
        login = "set PREFECT_API_AUTH_STRING to the server's own, `user:password`"
        return f"the Prefect server refuses the login ({status})", login
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fix = "see its log (of a temporary server: work/logs/prefect.log) and the space left on "
        return f"the Prefect server fails ({status})", f"{fix}its disk, then run this again"
    if "Failed to reach API" in str(error) or type(error).__module__.startswith("httpx"):
        start = "start it (`nadir servers`), correct PREFECT_API_URL, or unset it: then a "
        return "the Prefect server cannot be reached", f"{start}temporary server does"
    return None


def _status(error: BaseException | None) -> int:
    """HTTP's status of the answer behind an error; 0 where there was none."""
    while error is not None:
        if isinstance(error, HTTPStatusError):
            return error.response.status_code
        error = error.__cause__ or error.__context__
    return 0


if __name__ == "__main__":
    try:
        run_pipeline()
    except NadirError as error:
        raise SystemExit(f"error: {error}") from None
