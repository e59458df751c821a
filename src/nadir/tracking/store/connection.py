"""Which MLflow store is used: the one the environment names, else SQLite in `work/mlflow`."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.locks import waiting_lock
from nadir.ground.logs.setup import take_over_handlers
from nadir.ground.loopback import ask_loopback_directly
from nadir.ground.secrets import masked, scrub
from nadir.ground.workspace import PARAMS_FILE, main_workspace, project_root
from nadir.tracking.store.faults import store_error
from nadir.tracking.store.patience import (
    PATIENCE_S,
    await_answer,
    bound_waits,
    is_server,
    told_when_slow,
)
from nadir.tracking.store.relocation import artifact_folder, settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities import Experiment

URI_VARIABLE = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
_OWN_STORE = "work/mlflow/mlflow.db"
# Names of the network's and databases' errors that pass by themselves, whichever library's they
# are: each has its own class for the same thing.
_PASSING = {
    "ChunkedEncodingError",
    "ConnectionError",
    "HTTPClientError",
    "OperationalError",
    "RetryError",
    "Timeout",
    "TimeoutError",
    "gaierror",
}
_PASSING_ERRNO = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}


def tracking_uri(root: Path | None = None) -> str:
    """`MLFLOW_TRACKING_URI`, else an absolute SQLite URI in the main workspace.

    Absolute, because MLflow takes a relative one from the current folder of each process.
    """
    named = os.environ.get(URI_VARIABLE)
    if named:
        return named
    return f"{_SQLITE}{main_workspace(root or project_root())}/{_OWN_STORE}"


def store_name(root: Path | None = None) -> str:
    """What to call the store in a record: without passwords, and the same after a move.

    The clone's own store has one name, whether or not the environment names it too.
    """
    named = tracking_uri(root)
    own = f"{_SQLITE}{main_workspace(root or project_root())}/{_OWN_STORE}"
    return _OWN_STORE if named == own else masked(named)


def store_exists(root: Path | None = None) -> bool:
    """Whether there may be something to read; false only for an SQLite file not made yet."""
    uri = tracking_uri(root)
    return not uri.startswith(_SQLITE) or Path(uri.removeprefix(_SQLITE)).is_file()


def connect(root: Path | None = None, *, patience_s: float = PATIENCE_S) -> MlflowClient:
    """A client of the store, which exists afterwards.

    Everything goes through clients with explicit run ids: MLflow's "active run" belongs to one
    thread and one process, and neither Prefect's tasks nor accelerate's children are in it.

    Args:
        root: The project's root.
        patience_s: Seconds to wait for a store that is away.

    Raises:
        NadirError: The store cannot be reached, or was moved without its artifacts.
    """
    import_mlflow()
    from mlflow import MlflowClient

    uri = tracking_uri(root)
    # Two processes that meet an empty database would both create its tables.
    lock = main_workspace(root or project_root()) / "work" / "mlflow" / "create.lock"
    try:
        with told_when_slow(lambda: uri), _nobody_else(uri, lock):
            if uri.startswith(_SQLITE):
                _make_whole(Path(uri.removeprefix(_SQLITE)))
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            await_answer(
                lambda: client.search_experiments(max_results=1),
                uri=uri,
                passes=is_transient,
                patience_s=patience_s,
            )
            if uri.startswith(_SQLITE):
                settle(Path(uri.removeprefix(_SQLITE)))
    except NadirError:
        raise
    except Exception as error:
        scrub(error)
        if not _is_the_stores(error) and not isinstance(error, sqlite3.Error):
            raise
        raise store_error(error, what="cannot open the MLflow store", where=uri) from error
    return client


def _make_whole(database: Path) -> None:
    """Make a new database beside its place, since MLflow takes one with half its tables for good.

    It makes them one by one, so that a kill or a full disk leaves some; what is left is made anew.
    """
    from mlflow import MlflowClient

    if not database.parent.is_dir() or (database.is_file() and database.stat().st_size):
        return
    new = database.with_name(f"{database.name}.unfinished")
    for left in (new, new.with_name(f"{new.name}-journal")):
        left.unlink(missing_ok=True)
    uri = f"{_SQLITE}{new}"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
    new.replace(database)


def import_mlflow() -> None:
    """Import MLflow, which takes a second that may be spent while something else is waited for."""
    # Before the import: MLflow reads it while it loads.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    bound_waits()
    ask_loopback_directly(os.environ)
    import mlflow  # noqa: F401

    _quiet_logs()
    take_over_handlers()


def _nobody_else(uri: str, lock: Path) -> contextlib.AbstractContextManager[None]:
    """A server makes its tables itself, so nobody waits in line for one that is away."""
    return contextlib.nullcontext() if is_server(uri) else waiting_lock(lock)


@contextlib.contextmanager
def store_faults(root: Path | None = None) -> Iterator[None]:
    """Inside the block (or the function it decorates), a failing store is one clear error.

    A store may go away after `connect`, at any call. The cause stays, for `is_transient`. One that
    takes long is named on standard error.

    Raises:
        NadirError: The store refused a call, or went away.
    """
    try:
        with told_when_slow(lambda: tracking_uri(root)):
            yield
    except NadirError:
        raise
    except Exception as error:
        scrub(error)
        if not _is_the_stores(error):
            raise
        raise store_error(
            error, what="the MLflow store failed", where=tracking_uri(root)
        ) from error


@contextlib.contextmanager
def missing_is_none() -> Iterator[None]:
    """Inside the block, "there is no such thing" is no error; every other answer stays one.

    A store that refuses or is away has said nothing about what it holds: whoever takes that for
    "nothing there" makes a second run or version, or gives away an alias that is taken. MLflow says
    RESOURCE_DOES_NOT_EXIST for a model, version or run, and for an alias INVALID_PARAMETER_VALUE,
    as for much else: look aliases up in `nadir.tracking.registry.versions.alias_table`.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        # A proxy's own 404 is ENDPOINT_NOT_FOUND, so this code is the store's word.
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def experiment_id(client: MlflowClient, root: Path | None = None, *, suffix: str = "") -> str:
    """Id of the experiment that `register.experiment` names; made when there is none yet.

    Args:
        client: Of the store.
        root: The project's root.
        suffix: Behind the name, for runs that are no part of the pipeline.
    """
    root = root or project_root()
    from nadir.config.reader import read_section
    from nadir.config.register import RegisterParams

    name = read_section("register", RegisterParams, root / PARAMS_FILE).experiment + suffix
    with waiting_lock(main_workspace(root) / "work" / "mlflow" / "create.lock"):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            experiment = _made_experiment(client, name)
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)


def _made_experiment(client: MlflowClient, name: str) -> Experiment:
    """A new experiment, or the one that another machine was quicker to make."""
    from mlflow.exceptions import MlflowException

    folder = _artifact_folder(client.tracking_uri)
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=folder))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.get_experiment_by_name(name)


def is_transient(error: BaseException | None) -> bool:
    """Whether the same call may succeed in a while: the network, a busy database or server."""
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & _PASSING or getattr(error, "errno", None) in _PASSING_ERRNO:
            return True
        code = getattr(error, "error_code", "")
        if code == "TEMPORARILY_UNAVAILABLE" or "database is locked" in str(error):
            return True
        # MLflow raises its own error while it handles the network's, without naming it as cause.
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def _is_the_stores(error: BaseException) -> bool:
    """Whether an error is MLflow's, of the libraries it asks with, or passes by itself.

    Artifacts come and go through `requests` and S3 clients, whose errors MLflow hands on as they
    are.
    """
    families = {"mlflow", "requests", "urllib3", "sqlalchemy", "botocore", "boto3"}
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return bool(modules & families) or is_transient(error)


def _artifact_folder(uri: str) -> str | None:
    """Beside the database for SQLite, since MLflow's default is the current folder."""
    if not uri.startswith(_SQLITE):
        return None
    return artifact_folder(Path(uri.removeprefix(_SQLITE))).as_uri()


def _quiet_logs() -> None:
    for name in ("mlflow.store", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
