"""Processes that are killed (SIGKILL) before a chosen one of the steps by which they change things.

They are forked from a server that has imported everything, so each costs as little as its work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable

# Of MLflow's client, everything that writes.
_WRITES = ("create_", "set_", "delete_", "log_", "finalize_", "update_", "rename_")
_IMPORTED = [
    "dvc.repo", "mlflow.pyfunc.model", "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store", "nadir.evaluation.metrics",
    "nadir.evaluation.report.judgement_page", "nadir.evaluation.verdict.judgement",
    "nadir.pipeline.promotion", "nadir.pipeline.registering", "nadir.serving.served_model",
]  # fmt: skip
_MEET_S = 1.0


def server() -> ForkServerContext:
    """What processes are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


@dataclass(frozen=True)
class Fault:
    """What becomes of a process.

    Attributes:
        kill_before: Number of the step before which it is killed, from 0; None lets it live.
        meet_at: Name of a step before which it waits a second at most for another to come to it.
        meeting: The folder in which they leave word of that.
    """

    kill_before: int | None = None
    meet_at: str = ""
    meeting: str = ""


def start(
    root: Path, uri: str | None, fault: Fault, action: Callable[..., Any], *arguments: Any
) -> Any:
    """Start an action in a process of its own.

    Args:
        root: The folder it works in.
        uri: Of the MLflow store; None is the workspace's own.
        fault: What becomes of it.
        action: Of a module, called with the arguments.
        arguments: What it is given.
    """
    child = server().Process(target=_work, args=(str(root), uri, fault, action, arguments))
    child.start()
    return child


def steps(root: Path) -> list[str]:
    """The steps that the last process came to, the one it was killed before at the end."""
    path = root / "work/steps"
    return path.read_text(encoding="utf-8").split() if path.is_file() else []


def outcome(root: Path) -> str:
    """What the last process returned, or the error that it ended with."""
    return (root / "work/outcome").read_text(encoding="utf-8")


def _work(root: str, uri: str | None, fault: Fault, action: Any, arguments: Any) -> None:
    os.chdir(root)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if uri is not None:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    _count_steps(Path(root) / "work/steps", fault)
    try:
        told = str(action(*arguments))
    except NadirError as error:
        told = f"error: {error}"
    Path(root, "work/outcome").write_text(told, encoding="utf-8")


def _meet(fault: Fault) -> None:
    folder = Path(fault.meeting)
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + _MEET_S
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)


def _count_steps(record: Path, fault: Fault) -> None:
    from mlflow import MlflowClient

    from nadir.tracking.registry import promotion, registration

    record.unlink(missing_ok=True)
    made, inside = 0, False

    def counted(name: str, real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal made, inside
            if inside or threading.current_thread() is not threading.main_thread():
                return real(*arguments, **named)
            with record.open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")
            if made == fault.kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
            if name == fault.meet_at:
                _meet(fault)
            made, inside = made + 1, True
            try:
                return real(*arguments, **named)
            finally:
                inside = False

        return call

    for name in dir(MlflowClient):
        if name.startswith(_WRITES):
            setattr(MlflowClient, name, counted(name, getattr(MlflowClient, name)))
    # Steps that change files of the workspace.
    for module, names in ((registration, ("keep_current", "save_experiment")),
                          (promotion, ("accept",))):  # fmt: skip
        for name in names:
            setattr(module, name, counted(name, getattr(module, name)))
