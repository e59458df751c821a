"""The whole plan of a training: work, memory, disk and time."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import torch

from nadir.compute.devices import pick_device
from nadir.config.base_model import BaseModelParams
from nadir.config.bucket import BucketParams
from nadir.config.compute import ComputeParams
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.planning.hollow import configs_of
from nadir.planning.measured import measured_step
from nadir.planning.memory import GIB, plan_memory
from nadir.planning.work import plan_work
from nadir.training.train_step import ALONE, ALONE_FIX

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.planning.memory import MemoryPlan
    from nadir.planning.work import Work


@dataclass(frozen=True)
class MicroBatch:
    """What one process holds at once: `images` of `width` x `height` pixels."""

    images: int
    width: int
    height: int


@dataclass(frozen=True)
class Disk:
    """Bytes on disk.

    Attributes:
        checkpoint: A resumable checkpoint.
        kept_checkpoints: As many lie there at most, with the one that is being written.
        published: The finished model.
        latents: Of the images; None before they are encoded.
        text_states: Of all captions that `train.text_cache` keeps, as if no two were alike; None
            before the images are known.
        free: What the disk has.
    """

    checkpoint: int
    kept_checkpoints: int
    published: int
    latents: int | None
    text_states: int | None
    free: int


@dataclass(frozen=True)
class Plan:
    """Everything that `nadir plan` prints.

    Attributes:
        steps: Optimizer steps.
        processes: Training processes.
        device: `cpu`, `cuda` or `mps`.
        work: None while stages before have not run.
        micro_batch: The largest one.
        memory: Of one process, by part.
        device_bytes: The most that the device holds of a process.
        host_bytes: The most that the host holds of all processes' parts; with the CPU as the
            device, of everything.
        device_total: The GPU's memory; None without one.
        host_total: The machine's memory.
        disk: Disk space.
        step_seconds: Measured with these settings; None when they have not been checked.
        warnings: What will not fit.
    """

    steps: int
    processes: int
    device: str
    work: Work | None
    micro_batch: MicroBatch
    memory: MemoryPlan
    device_bytes: int
    host_bytes: int
    device_total: int | None
    host_total: int
    disk: Disk
    step_seconds: float | None
    warnings: tuple[str, ...]


def make_plan(root: Path, params: Path) -> Plan:
    """Plan the training of a project.

    Args:
        root: The project's.
        params: `params.yaml`, or another file with all sections.

    Raises:
        NadirError: Settings that the training would refuse as well.
    """
    train = read_section("train", TrainParams, params)
    compute = read_section("compute", ComputeParams, params)
    base = read_section("base_model", BaseModelParams, params)
    device = pick_device(compute.device).type
    work = plan_work(root, train) if params == root / "params.yaml" else None
    micro = _micro_batch(
        train, compute.processes, work, read_section("bucket", BucketParams, params)
    )
    memory = plan_memory(
        configs_of(root / artifacts.BASE, base),
        train,
        images=micro.images,
        width=micro.width,
        height=micro.height,
        processes=compute.processes,
    )
    on_cpu = device == "cpu"
    held = memory.device_bytes(libraries=not on_cpu)
    disk = _disk(root, train, memory, work)
    found: dict[str, Any] = {
        "device_bytes": 0 if on_cpu else held,
        "host_bytes": compute.processes * (memory.host_bytes() + (held if on_cpu else 0))
        + memory.copy_bytes,
        "device_total": None if on_cpu else _device_total(device),
        "host_total": psutil.virtual_memory().total,
    }
    return Plan(
        steps=train.steps,
        processes=compute.processes,
        device=device,
        work=work,
        micro_batch=micro,
        memory=memory,
        **found,
        disk=disk,
        step_seconds=measured_step(root, train, device=device, processes=compute.processes),
        warnings=tuple(_warnings(disk, **found)),
    )


def _micro_batch(
    train: TrainParams, processes: int, work: Work | None, bucket: BucketParams
) -> MicroBatch:
    """The largest part of a batch that a process has at once."""
    shares = processes * train.gradient_accumulation
    if work:
        fullest = work.fullest()
        batch, width, height = fullest.batch, fullest.width, fullest.height
    else:
        side = math.isqrt(bucket.max_area_px) // bucket.step_px * bucket.step_px
        batch, width, height = train.batch_size, side, side
    if train.parallel == "fsdp" and processes == 1:
        raise NadirError(ALONE, where="params.yaml train.parallel", fix=ALONE_FIX)
    if batch % shares:
        raise NadirError(
            f"a batch of {batch} images cannot be split over {processes} processes with "
            f"{train.gradient_accumulation} parts each",
            where="params.yaml train.batch_size",
            fix=f"make it a multiple of {shares}, or change compute.processes or "
            "train.gradient_accumulation",
        )
    return MicroBatch(batch // shares, width, height)


def _disk(root: Path, train: TrainParams, memory: MemoryPlan, work: Work | None) -> Disk:
    latents = root / artifacts.LATENTS
    size = None
    if (latents / "index.parquet").is_file():
        size = sum(path.stat().st_size for path in latents.rglob("*") if path.is_file())
    return Disk(
        checkpoint=memory.state_bytes,
        # Of shares two stay: see `ShardStore`.
        kept_checkpoints=max(train.keep_checkpoints, 2 if train.parallel == "fsdp" else 1) + 1,
        published=memory.published_bytes,
        latents=size,
        text_states=_states(memory, train, work),
        free=shutil.disk_usage(root).free,
    )


def _states(memory: MemoryPlan, train: TrainParams, work: Work | None) -> int | None:
    """Of so many captions an image, and the empty one."""
    if not train.text_cache:
        return 0
    return (work.images * train.text_cache + 1) * memory.text_row_bytes if work else None


def _device_total(device: str) -> int | None:
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    return None


def _warnings(
    disk: Disk, *, device_bytes: int, host_bytes: int, device_total: int | None, host_total: int
) -> list[str]:
    found = []
    if device_total and device_bytes > device_total:
        found.append(
            f"the GPU has {device_total / GIB:.1f} GiB, and {device_bytes / GIB:.1f} are needed: "
            "docs/training.md lists what takes less"
        )
    if host_bytes > host_total:
        found.append(
            f"the machine has {host_total / GIB:.1f} GiB of memory, and {host_bytes / GIB:.1f} "
            "are needed"
        )
    needed = disk.kept_checkpoints * disk.checkpoint + disk.published + (disk.text_states or 0)
    if needed > disk.free:
        found.append(
            f"the disk has {disk.free / 1e9:.1f} GB free, and checkpoints, model and text states "
            f"take {needed / 1e9:.1f}: lower train.keep_checkpoints or train.text_cache, or "
            "`nadir clean`"
        )
    return found
