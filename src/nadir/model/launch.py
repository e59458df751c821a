"""The command line that starts several processes of one program through accelerate."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from nadir.ground.files import write_json
from nadir.ground.workspace import work_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.config.compute import ComputeParams


def accelerate_command(
    module: str, arguments: Sequence[str], *, compute: ComputeParams, mixed_precision: str
) -> list[str]:
    """`accelerate launch` of a module in all processes of this machine.

    A configuration is always named: without one, accelerate takes the user's own default
    (`accelerate config` writes it), made for other programs.

    Args:
        module: Dotted name of the program.
        arguments: Its command line.
        compute: Processes, or an accelerate configuration instead.
        mixed_precision: `no`, `fp16` or `bf16`.
    """
    options = ["--num_processes", str(compute.processes), "--num_machines", "1"]
    if compute.processes > 1:
        options.append("--multi_gpu")  # torchrun; without a GPU the processes find gloo
    if compute.accelerate_config:
        options = ["--config_file", compute.accelerate_config]
    else:
        options += ["--config_file", _plain_config()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or max(
        1, (cores or 1) // compute.processes
    )
    return [
        sys.executable,
        *("-m", "accelerate.commands.launch", "--quiet", *options),
        *("--mixed_precision", mixed_precision, "--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", str(threads)),
        *("-m", module, *arguments),
    ]


def _plain_config() -> str:
    """A configuration that says nothing beyond the command line."""
    path = work_folder("accelerate") / "plain.json"
    write_json(path, {"compute_environment": "LOCAL_MACHINE", "distributed_type": "NO"})
    return str(path)
