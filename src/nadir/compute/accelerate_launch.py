"""The command line that starts a program in as many processes as wanted, through accelerate.

One process needs no launcher: it is started by itself, with the environment that
`accelerate launch` would give it, and saves the launcher's own import of PyTorch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nadir.ground.files import write_json
from nadir.ground.workspace import work_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.config.compute import ComputeParams

# What torchrun, MPI and their kin tell the processes that they start: who each one is, and where
# the others are. PyTorch and accelerate believe it, and wait for processes that nobody starts.
_PLACES = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE"),
    *("ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "NODE_RANK", "NPROC", "FORK_LAUNCHED"),
    *("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_*", "PET_*"),
    *("PMI_*", "PMIX_*", "OMPI_*", "MV2_*", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
)
# What `accelerate launch` tells its own; it sets what it means and takes away nothing.
_SETTINGS = ("ACCELERATE_*", "FSDP_*", "MEGATRON_LM_*", "PARALLELISM_CONFIG_*")


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
    threads = threads_per_process(compute.processes)
    return [
        sys.executable,
        *("-m", "accelerate.commands.launch", "--quiet", *options),
        *("--mixed_precision", mixed_precision, "--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", str(threads)),
        *("-m", module, *arguments),
    ]


def is_direct(compute: ComputeParams) -> bool:
    """Whether one process is all there is, so that it is started without accelerate's launcher."""
    return compute.processes == 1 and compute.accelerate_config is None


def direct_command(module: str, arguments: Sequence[str]) -> list[str]:
    """The command line of the one process; wants `direct_environment`."""
    return [sys.executable, "-m", module, *arguments]


def direct_environment(mixed_precision: str) -> dict[str, str]:
    """What `accelerate launch` tells the one process that it starts; a test compares the two.

    Args:
        mixed_precision: `no`, `fp16` or `bf16`.
    """
    return {
        "ACCELERATE_USE_CPU": "False",
        "ACCELERATE_MIXED_PRECISION": mixed_precision,
        "ACCELERATE_DYNAMO_BACKEND": "NO",
        "ACCELERATE_DYNAMO_MODE": "default",
        "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
        "ACCELERATE_DYNAMO_USE_DYNAMIC": "False",
        "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "False",
        "OMP_NUM_THREADS": str(threads_per_process(1)),
    }


def launch_environment(compute: ComputeParams) -> dict[str, str]:
    """This process' environment without what another launcher left in it.

    A notebook server, a SLURM job or a Kubeflow pod sets variables for programs of its own kind.
    How many processes there are, and how they compute, is said by `compute` and `params.yaml`. An
    accelerate configuration for several machines keeps the variables of places, since MPI may be
    what starts its processes.
    """
    taken = (
        _SETTINGS if _is_for_several_machines(compute.accelerate_config) else (*_SETTINGS, *_PLACES)
    )
    names = {name for name in taken if not name.endswith("*")}
    prefixes = tuple(name.removesuffix("*") for name in taken if name.endswith("*"))
    return {
        name: value
        for name, value in os.environ.items()
        if name not in names and not name.startswith(prefixes)
    }


def _is_for_several_machines(config: str | None) -> bool:
    if config is None:
        return False
    try:
        tree = YAML(typ="safe", pure=True).load(Path(config).read_text(encoding="utf-8"))
        return int(tree["num_machines"]) > 1
    except (OSError, ValueError, TypeError, KeyError, YAMLError):
        return False  # accelerate says what is wrong with it


def threads_per_process(processes: int) -> int:
    """Threads that each of some processes on this machine computes with.

    `OMP_NUM_THREADS` decides where it holds a number (OpenMP allows a list; its first counts); else
    the cores that this process may use are shared out.
    """
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if named.isdigit() and int(named):
        return int(named)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // processes)


def _plain_config() -> str:
    """A configuration that says nothing beyond the command line."""
    path = work_folder("accelerate") / "plain.json"
    write_json(path, {"compute_environment": "LOCAL_MACHINE", "distributed_type": "NO"})
    return str(path)
