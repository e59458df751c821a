"""GPU, memory and the kernel's limits for this shell."""

from __future__ import annotations

import json
import resource
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.doctor.finding import Check, Finding, failed, none, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nadir.doctor.scene import Scene

_GIB = 1 << 30
_LEAST_MEMORY, _LEAST_ADDRESSES = 2 * _GIB, 32 * _GIB  # torch alone maps many gigabytes
_LEAST_FILES = 512
_DRIVER = Path("/proc/driver/nvidia/version")
# In a process of its own: torch takes seconds and gigabytes, and a broken driver may end it.
_LOOK = """
import json, torch
there = torch.cuda.is_available()
devices = []
for index in range(torch.cuda.device_count() if there else 0):
    free, total = torch.cuda.mem_get_info(index)
    capability = torch.cuda.get_device_capability(index)
    devices.append({
        "name": torch.cuda.get_device_name(index), "free": free, "total": total,
        "bf16": capability >= (8, 0), "built": f"sm_{capability[0]}{capability[1]}",
    })
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "devices": devices}))
"""


def _gpu(scene: Scene) -> Finding:
    if not (_DRIVER.exists() or shutil.which("nvidia-smi")):
        if _wanted_device(scene) == "cuda":
            return failed(
                "compute.device is cuda, and this machine has no NVIDIA driver",
                "`nadir params set compute.device=auto`, or install the driver",
            )
        return none("no NVIDIA driver; the CPU computes")
    done = scene.run([sys.executable, "-c", _LOOK])
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return failed(f"torch cannot look for GPUs: {last}", "`make install`")
    found = json.loads(done.stdout.splitlines()[-1])
    driver = _driver_version(scene)
    if not found["devices"]:
        return _unseen(found, driver, scene)
    return _seen(found, driver)


def _unseen(found: dict[str, object], driver: str, scene: Scene) -> Finding:
    told = f"driver {driver}, but torch {found['torch']} sees no GPU"
    if not found["cuda"]:
        return failed(
            f"{told}: it is built for the CPU",
            "install the build for CUDA from the index that "
            "https://pytorch.org/get-started/locally names",
        )
    if scene.environment.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return warning(f"{told}: CUDA_VISIBLE_DEVICES hides all", "`unset CUDA_VISIBLE_DEVICES`")
    return failed(
        f"{told} (built for CUDA {found['cuda']})",
        "see that `nvidia-smi` answers and that the driver is new enough for this CUDA; in a "
        "container, that the GPU is passed in (`--gpus all`)",
    )


def _seen(found: dict[str, list[dict[str, object]]], driver: str) -> Finding:
    texts = []
    for device in found["devices"]:
        free, total = (float(str(device[key])) / _GIB for key in ("free", "total"))
        without = "" if device["bf16"] else ", no bf16"
        texts.append(f"{device['name']}: {free:.0f} of {total:.0f} GiB free{without}")
    told = f"{'; '.join(texts)}; driver {driver}, CUDA {found['cuda']}"
    taken = [d for d in found["devices"] if float(str(d["free"])) < 0.5 * float(str(d["total"]))]
    if taken:
        return warning(
            f"{told}: others hold more than half of its memory",
            "see who by `nvidia-smi`; wait, or name a free GPU in CUDA_VISIBLE_DEVICES",
        )
    return ok(told)


def _driver_version(scene: Scene) -> str:
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return (scene.run(query).stdout.splitlines() or ["unknown"])[0].strip()
    except OSError:
        return "unknown"


def _wanted_device(scene: Scene) -> str:
    """`compute.device`; faults of the file are another check's."""
    from nadir.config.compute import ComputeParams
    from nadir.config.reader import read_section
    from nadir.ground.errors import NadirError

    try:
        return str(read_section("compute", ComputeParams, scene.root / "params.yaml").device)
    except NadirError:
        return "auto"


def _memory(_scene: Scene) -> Finding:
    """What is free, within the limit of a container."""
    import psutil

    memory = psutil.virtual_memory()
    free, total = float(memory.available), float(memory.total)
    for limit, used in _control_group():
        free, total = min(free, limit - used), min(total, limit)
    told = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB of memory are free"
    if free < _LEAST_MEMORY:
        return warning(
            told, "end other programs, or give the container more; `nadir plan` says what it takes"
        )
    return ok(told)


def _control_group() -> Iterator[tuple[float, float]]:
    """Limit and use in bytes of this process' control group, by either version of the kernel's."""
    tree = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, kinds, path = line.split(":", 2)
        folder, names = tree, ("memory.max", "memory.current")
        if "memory" in kinds.split(","):
            folder, names = tree / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        elif kinds:
            continue
        # Inside of a container the path is the host's, and its group lies at the top.
        for place in (folder / path.lstrip("/"), folder):
            limit, used = (_number(place / name) for name in names)
            if limit is not None and used is not None:
                yield limit, used


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None  # no such file, or "max"


def _addresses(_scene: Scene) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY or soft >= _LEAST_ADDRESSES:
        return ok("address space is not limited below what torch maps")
    return failed(
        f"this shell limits a process to {soft / _GIB:.1f} GiB of addresses; torch maps far more "
        "than it uses",
        "`ulimit -S -v unlimited`",
    )


def _open_files(_scene: Scene) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _LEAST_FILES:
        return ok(f"{soft} open files allowed")
    most = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    return failed(f"only {soft} open files are allowed", f"`ulimit -S -n {most}`")


MACHINE = (
    Check("gpu", "machine", _gpu),
    Check("memory", "machine", _memory),
    Check("address-space", "machine", _addresses),
    Check("open-files", "machine", _open_files),
)
