"""Checkpoints that a training resumes from: whole and verified, or not there.

One folder per checkpoint, `step-000200`, below the run's own folder:

- `weights.safetensors`, `average.safetensors` (absent when `ema_decay` is 0): what is trained
- `extra.safetensors` (absent when empty): what is learned beside the weights
- `optimizer.pt`: optimizer state, read with torch's weights-only loader
- `state.json`: step, images, fingerprint, loss history
- `manifest.json`: size and sha256 of the others

A checkpoint is written beside its place, synced to disk and renamed, so a kill at any moment
leaves the one before it.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_folder, file_hash, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NAME = re.compile(r"step-(\d{6,})")
_WEIGHTS, _AVERAGE = "weights.safetensors", "average.safetensors"
_EXTRA = "extra.safetensors"
_OPTIMIZER, _STATE, _MANIFEST = "optimizer.pt", "state.json", "manifest.json"


@dataclass
class Snapshot:
    """Everything that a resumed training needs and cannot compute again.

    Attributes:
        step: Optimizer steps done.
        weights: The trained parameters by name.
        average: Their moving average by name; None without one.
        average_updates: Updates that went into the average.
        optimizer: State of the optimizer and, in fp16, the loss scaler.
        facts: JSON values: images seen, loss history.
        extra: What is learned beside the weights, by name, such as a loss weight and its moments.
    """

    step: int
    weights: Mapping[str, torch.Tensor]
    average: Mapping[str, torch.Tensor] | None
    average_updates: int
    optimizer: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, torch.Tensor] = field(default_factory=dict)


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: Where they lie.
        fingerprint: Of code, data and params; a checkpoint of another one is refused.
        keep: How many stay.
        warn: Called with checkpoints that cannot be used.
    """

    def __init__(
        self, folder: Path, *, fingerprint: str, keep: int, warn: Callable[[str], None]
    ) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.keep = keep
        self._warn = warn

    def save(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint atomically, then drop the oldest beyond `keep`.

        Those of more steps go as well: they were damaged, or this training would have gone on from
        them.

        Raises:
            OSError: The disk is full or gone; nothing is left of the attempt.
        """
        final = self.folder / f"step-{snapshot.step:06d}"
        with atomic_folder(final) as temporary:
            self._write(temporary, snapshot)
        found = self._folders()
        unused = [folder for folder in found if step_of(folder) > snapshot.step]
        for old in (*unused, *found[len(unused) + self.keep :]):
            shutil.rmtree(old, ignore_errors=True)
        return final

    def latest(self, before: int | None = None) -> Path | None:
        """The newest checkpoint whose files are all intact; None when there is none.

        Args:
            before: Only those of fewer steps.

        Raises:
            NadirError: It was made by other code, data or params.
        """
        for leftover in self.folder.glob(".step-*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        for folder in self._folders():
            if before is not None and step_of(folder) >= before:
                continue
            fault = _fault(folder)
            if fault is None:
                self._check_fingerprint(folder)
                return folder
            self._warn(f"checkpoint {folder.name} is damaged ({fault}); trying the one before it")
        return None

    def load(self, folder: Path) -> Snapshot:
        """Read a checkpoint that `latest` returned; tensors lie on the CPU.

        Weights and average are read one by one, each when it is asked for, so the folder has to
        stay until the training has taken them.
        """
        state = read_json(folder / _STATE)
        average, extra = folder / _AVERAGE, folder / _EXTRA
        return Snapshot(
            step=state["step"],
            weights=_OnDisk(folder / _WEIGHTS),
            average=_OnDisk(average) if average.is_file() else None,
            average_updates=state["average_updates"],
            optimizer=torch.load(folder / _OPTIMIZER, map_location="cpu", weights_only=True),
            facts=state["facts"],
            extra=load_file(extra) if extra.is_file() else {},
        )

    def clear(self) -> None:
        """Remove all checkpoints, which a finished training no longer needs."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        """Checkpoints, newest first."""
        found = [path for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name)]
        return sorted(found, key=step_of, reverse=True)

    def _write(self, folder: Path, snapshot: Snapshot) -> None:
        save_file(_plain(snapshot.weights), folder / _WEIGHTS)
        if snapshot.average is not None:
            save_file(_plain(snapshot.average), folder / _AVERAGE)
        if snapshot.extra:
            save_file(_plain(snapshot.extra), folder / _EXTRA)
        # Through a file of Python's: torch's own writer does not say that a disk is full.
        with (folder / _OPTIMIZER).open("wb") as file:
            torch.save(snapshot.optimizer, file)
        state = {
            "step": snapshot.step,
            "average_updates": snapshot.average_updates,
            "fingerprint": self.fingerprint,
            "facts": snapshot.facts,
        }
        write_json(folder / _STATE, state)
        files = sorted(folder.iterdir())
        manifest = {p.name: {"bytes": p.stat().st_size, "sha256": file_hash(p)} for p in files}
        write_json(folder / _MANIFEST, manifest)

    def _check_fingerprint(self, folder: Path) -> None:
        found = read_json(folder / _STATE)["fingerprint"]
        if found != self.fingerprint:
            raise NadirError(
                f"the checkpoint belongs to another training (fingerprint {found[:12]}, "
                f"now {self.fingerprint[:12]})",
                where=str(folder),
                fix=f"delete {folder.parent} and train from the start",
            )


class _OnDisk(Mapping[str, torch.Tensor]):
    """The tensors of a file by name.

    The file is opened anew for each: open, it stays mapped, and what has been read of it counts as
    this process' memory, until all of a large model lies there twice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with safe_open(path, framework="pt") as file:
            self._names = dict.fromkeys(file.keys())

    def __getitem__(self, name: str) -> torch.Tensor:
        self._names[name]  # a `KeyError`, as everywhere
        with safe_open(self._path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def step_of(folder: Path) -> int:
    """Steps done before a checkpoint."""
    return int(folder.name.removeprefix("step-"))


def age(path: Path) -> str:
    """How long ago a file was written, for people: `40 s`, `2 min`, `3 h`, `4 d`."""
    seconds = max(0.0, time.time() - path.stat().st_mtime)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}


def _fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint's files; None when they are intact."""
    try:
        manifest = read_json(folder / _MANIFEST)
        for name, expected in manifest.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["bytes"] or file_hash(path) != expected["sha256"]:
                return f"{name} has changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{_MANIFEST}: {error}"
    return None if {_WEIGHTS, _OPTIMIZER, _STATE} <= set(manifest) else f"{_MANIFEST} is incomplete"
