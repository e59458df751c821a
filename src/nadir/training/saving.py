"""Writes checkpoints beside the training: copied at the exact step, written while it goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from nadir.training.state import CheckpointStore, Snapshot


class CheckpointWriter:
    """Gives checkpoints to a store, one at a time.

    In the background `save` takes as long as a copy into the host's memory, and that copy lives
    until it is written; a second `save` waits for the first, so there is never more than one.

    Args:
        store: Where they go.
        in_background: Whether a thread writes them; else `save` returns when all is on the disk.
    """

    def __init__(self, store: CheckpointStore, *, in_background: bool) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "checkpoint") if in_background else None
        self._writing: Future[Path] | None = None

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint of this moment.

        Raises:
            OSError: It, or the one before, could not be written.
        """
        self.wait()
        if self._thread:
            self._writing = self._thread.submit(self._store.save, on_host(snapshot))
        else:
            self._store.save(snapshot)

    def look(self) -> None:
        """Without waiting: raise what has gone wrong meanwhile.

        Raises:
            OSError: The last checkpoint could not be written.
        """
        if self._writing and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Until the last checkpoint is on the disk.

        Raises:
            OSError: It could not be written.
        """
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def fault(self) -> Exception | None:
        """Wait likewise, but give what has gone wrong, for one who already has a fault to tell."""
        writing, self._writing = self._writing, None
        error = writing.exception() if writing else None
        return error if isinstance(error, Exception) else None


def on_host(snapshot: Snapshot) -> Snapshot:
    """A copy that shares nothing with the training, all of it in the host's memory."""
    return replace(
        snapshot,
        weights=_copied(snapshot.weights),
        average=_copied(snapshot.average),
        optimizer=_copied(snapshot.optimizer),
        facts=deepcopy(snapshot.facts),
        extra=_copied(snapshot.extra),
    )


def _copied(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return _copied_tensor(tree)
    if isinstance(tree, dict):
        return {name: _copied(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_copied(value) for value in tree)
    return deepcopy(tree)


def _copied_tensor(tensor: torch.Tensor) -> torch.Tensor:
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.detach().to("cpu", copy=True)
    # torchao's states know no `clone`, and their `to` on the same device shares memory whatever
    # `copy` says (0.18).
    names, context = tensor.__tensor_flatten__()
    parts = {name: _copied_tensor(getattr(tensor, name)) for name in names}
    whole: torch.Tensor = type(tensor).__tensor_unflatten__(  # type: ignore[attr-defined]
        parts, context, tensor.shape, tensor.stride()
    )
    return whole
