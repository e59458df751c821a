"""Text states on disk: immutable files of many captions each, read through memory maps.

A file `<hash of its captions>.safetensors` holds `hidden` [N, S, D] and `pooled` [N, P] in fp16 and
its captions' hashes in the metadata. Files are written whole or not at all, so what a killed
training has finished is there for the next; what it has not is swept away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nadir.ground.events import say
from nadir.ground.files import atomic_path
from nadir.ground.locks import LockedError, exclusive_lock, shared_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIX = ".safetensors"
DTYPE = torch.float16
FILE_BYTES = 256 << 20
"""A file's size at most, unless one caption's states are larger."""

_LOCK = ".lock"
_HIDDEN, _POOLED, _METADATA = "hidden", "pooled", "captions"


def caption_hash(caption: str) -> str:
    """32 hex digits that stand for a caption."""
    return hashlib.sha256(caption.encode()).hexdigest()[:32]


def state_bytes(tokens: int, hidden_size: int, pooled_size: int) -> int:
    """Bytes of one caption's states: 318 KB of SDXL's with one chunk of 77 tokens."""
    return (tokens * hidden_size + pooled_size) * DTYPE.itemsize


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Inside the block no half-written file is swept away; any number of processes may write."""
    folder.mkdir(parents=True, exist_ok=True)
    with shared_lock(folder / _LOCK):
        yield


def sweep(folder: Path) -> None:
    """Remove what killed trainings left half-written, unless somebody writes."""
    left = list(folder.glob(f".*{SUFFIX}.*.tmp"))
    if not left:
        return
    with contextlib.suppress(LockedError), exclusive_lock(folder / _LOCK):
        for path in left:
            path.unlink(missing_ok=True)


class StateStore:
    """One folder's states; reads what was there when it was opened.

    Args:
        folder: Need not exist.
        names: Of the files to open; None opens all.

    Attributes:
        places: Row of each caption's states, by the caption's hash.
        names: Of the files that were opened.
    """

    def __init__(self, folder: Path, names: Sequence[str] | None = None) -> None:
        self.places: dict[str, int] = {}
        self.names: list[str] = []
        self._hidden: list[torch.Tensor] = []
        self._pooled: list[torch.Tensor] = []
        self._ends: list[int] = []
        found = sorted(folder.glob(f"*{SUFFIX}"))
        for path in found if names is None else [folder / name for name in names]:
            try:
                self._open(path)
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                say(f"WARNING train: {path} cannot be read and is made again ({error})")
                path.unlink(missing_ok=True)

    def _open(self, path: Path) -> None:
        """Map a file; its numbers are read when they are wanted."""
        with safe_open(path, framework="pt") as file:
            captions = json.loads((file.metadata() or {})[_METADATA])
            hidden, pooled = file.get_tensor(_HIDDEN), file.get_tensor(_POOLED)
        if not len(captions) == len(hidden) == len(pooled):
            msg = "captions and states differ in number"
            raise ValueError(msg)
        self.names.append(path.name)
        start = self._ends[-1] if self._ends else 0
        self._hidden.append(hidden)
        self._pooled.append(pooled)
        self._ends.append(start + len(hidden))
        for row, caption in enumerate(captions, start=start):
            self.places.setdefault(caption, row)

    def rows(self, places_B: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """States of some rows, `hidden_BSD` and `pooled_BP`, copied out of the maps."""
        files_B = np.searchsorted(self._ends, places_B, side="right")
        found = [
            (file, int(place) - (self._ends[file - 1] if file else 0))
            for file, place in zip(files_B, places_B, strict=True)
        ]
        return (
            torch.stack([self._hidden[file][row] for file, row in found]),
            torch.stack([self._pooled[file][row] for file, row in found]),
        )


def write_states(
    folder: Path, captions: Sequence[str], hidden_NSD: torch.Tensor, pooled_NP: torch.Tensor
) -> None:
    """Write one file.

    Args:
        folder: Made if missing.
        captions: Their hashes.
        hidden_NSD: In fp16, on the CPU.
        pooled_NP: Likewise.
    """
    text = json.dumps(list(captions))
    name = hashlib.sha256(text.encode()).hexdigest()[:32] + SUFFIX
    with atomic_path(folder / name) as temporary:
        save_file({_HIDDEN: hidden_NSD, _POOLED: pooled_NP}, temporary, {_METADATA: text})
