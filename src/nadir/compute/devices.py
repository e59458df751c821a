"""Which device to compute on, and the memory that was needed there."""

from __future__ import annotations

import resource
import sys

import torch

from nadir.ground.errors import NadirError


def pick_device(name: str) -> torch.device:
    """The device that `compute.device` means.

    Args:
        name: auto, cpu, cuda or mps; `auto` is the best one there is.

    Raises:
        NadirError: The machine has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((device for device, present in there.items() if present), "cpu")
    if not there.get(name, name == "cpu"):
        raise NadirError(
            f"this machine has no `{name}` device",
            where="params.yaml compute.device",
            fix="set compute.device: auto",
        )
    return torch.device(name)


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device, without waiting for what a GPU has still to do.

    Only a copy from pinned memory goes its way beside the host; any other first waits until the
    GPU is idle.

    Args:
        tensor: Anywhere; on the CPU it must not change before the device has got there.
        device: Where it is wanted.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def peak_memory() -> dict[str, int]:
    """Bytes that this process held at most: `main` memory, and the `gpu`'s where it uses one."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"main": peak if sys.platform == "darwin" else peak * 1024}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found["gpu"] = torch.cuda.max_memory_allocated()
    return found
