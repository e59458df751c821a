"""Starts the training processes, passes signals on to them and waits until all have ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import psutil

from nadir.compute.accelerate_launch import (
    accelerate_command,
    direct_command,
    direct_environment,
    is_direct,
    launch_environment,
)
from nadir.compute.child_fault import forget_fault, left_fault, no_reason
from nadir.ground import artifacts
from nadir.ground.locks import is_held
from nadir.training.run_files import TRAINER_LOCK, is_finished
from nadir.training.stop_request import StopRequest, exclusive, stopped_early

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nadir.config.compute import ComputeParams
    from nadir.ground.errors import NadirError

_POLL_S = 0.2
_REPEAT_S = 1.0


def launch(
    work: Path,
    fingerprint: str,
    *,
    compute: ComputeParams,
    mixed_precision: str,
    environment: Mapping[str, str],
    arguments: Sequence[str] = (),
) -> None:
    """Run the training processes to their end.

    SIGINT and SIGTERM go on to them; they save a checkpoint and end, and only then does this
    return. So no second training can start while one is still writing.

    Args:
        work: The run's own folder.
        fingerprint: Of code, data and params.
        compute: Processes, accelerate configuration.
        mixed_precision: `no`, `fp16` or `bf16`.
        environment: Variables for the processes, on top of this process' own.
        arguments: More of the command line, such as `--check`.

    Raises:
        NadirError: Training failed or was stopped, or another process trains in `work`.
    """
    lock = work / TRAINER_LOCK
    with exclusive(lock):  # a trainer may outlive its launcher
        forget_fault(work)
    status = _supervise(
        [
            *command(work, fingerprint, compute=compute, mixed_precision=mixed_precision),
            *arguments,
        ],
        {
            **launch_environment(compute),
            **(direct_environment(mixed_precision) if is_direct(compute) else {}),
            **library_settings(),
            **environment,
        },
        lock,
        has_launcher=not is_direct(compute),
    )
    if status != 0 or not is_finished(work):
        raise _failure(work, status)


def command(
    work: Path, fingerprint: str, *, compute: ComputeParams, mixed_precision: str
) -> list[str]:
    """The command line that starts all training processes of this machine."""
    module, arguments = "nadir.training.main", ["--work", str(work), "--fingerprint", fingerprint]
    if is_direct(compute):
        return direct_command(module, arguments)
    return accelerate_command(module, arguments, compute=compute, mixed_precision=mixed_precision)


def library_settings() -> dict[str, str]:
    """Settings of the libraries underneath, unless the user has set them."""
    wanted = {
        # By default torchrun kills 30 s after a signal; saving a large model takes longer.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "900",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    if _is_large(artifacts.BASE):
        # glibc keeps freed blocks of up to 32 MiB, which on a CPU leaves holes of several GB
        # between the states of the optimizer. From 1 MiB on they go back at once; small models
        # gain nothing.
        wanted["MALLOC_MMAP_THRESHOLD_"] = str(1 << 20)
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def _is_large(base: Path) -> bool:
    """Whether the U-Net's file has 1 GiB or more."""
    return sum(path.stat().st_size for path in base.glob("unet/*.safetensors")) >= 1 << 30


def _supervise(
    line: list[str], environment: Mapping[str, str], lock: Path, *, has_launcher: bool
) -> int | None:
    """Run the command until neither it nor a trainer is left.

    Args:
        line: The command.
        environment: All of its variables.
        lock: What a trainer holds.
        has_launcher: Whether the command starts the trainers, and is not the trainer itself.

    Returns:
        Its exit status; None when it was asked to stop before it had started a trainer.
    """
    asked = 0.0
    with StopRequest() as stop:
        child = subprocess.Popen(line, env=dict(environment), preexec_fn=_ignore_signals)  # noqa: PLW1509
        while child.poll() is None or is_held(lock):
            if stop.requested and time.monotonic() - asked > _REPEAT_S:
                # Repeated, because a process that is still importing ignores signals.
                if has_launcher and not is_finished(lock.parent) and _end_alone(child):
                    return None
                _ask_to_stop()
                asked = time.monotonic()
            time.sleep(_POLL_S)
        return child.returncode


def _ignore_signals() -> None:
    """In the child before exec: accelerate would leave at a signal without waiting for trainers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _ask_to_stop() -> None:
    """SIGTERM to the processes at the end of the chain, which are the trainers."""
    for process in psutil.Process().children(recursive=True):
        try:
            if not process.children():
                process.terminate()
        except psutil.NoSuchProcess:
            continue


def _end_alone(child: subprocess.Popen[bytes]) -> bool:
    """Kill accelerate if no trainer of it is there; whether it was so.

    It ignores signals, and may wait for other machines that never come.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(child.pid)
        process.suspend()  # so that it starts none between the look and the kill
        if not process.children():
            child.kill()
            child.wait()
            return True
        process.resume()
    return False


def _failure(work: Path, status: int | None) -> NadirError:
    """What the trainer left as its reason, or that it left none."""
    fault = left_fault(work) or (stopped_early() if status is None else None)
    return fault or no_reason("the training process", status, where="train")
