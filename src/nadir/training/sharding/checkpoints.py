"""Resumable checkpoints of which each process writes its share.

`rank-0-of-2/step-000200` and `rank-1-of-2/step-000200` below the run's checkpoints are one. Each is
written as that of a whole model is (`nadir.training.state`) and appears when it is complete; the
checkpoint counts when all processes have theirs.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from accelerate.utils import broadcast_object_list, gather_object

from nadir.ground.errors import NadirError
from nadir.ground.events import say
from nadir.training.run_files import CHECKPOINTS
from nadir.training.state import CheckpointStore, step_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from accelerate import Accelerator

    from nadir.training.run import Run
    from nadir.training.state import Snapshot

_RANK = re.compile(r"rank-\d+-of-(\d+)")
_NONE = -1


def open_store(
    run: Run, accelerator: Accelerator, *, keep: int, warn: Callable[[str], None]
) -> CheckpointStore:
    """Where this process finds the run's checkpoints.

    Args:
        run: `train.parallel` says which form they have.
        accelerator: Which process this is, of how many.
        keep: How many stay.
        warn: Called with checkpoints that cannot be used; of shares each process warns itself.
    """
    folder = run.work / CHECKPOINTS
    if run.train.parallel == "fsdp":
        return ShardStore(folder, fingerprint=run.fingerprint, keep=keep, accelerator=accelerator)
    return CheckpointStore(folder, fingerprint=run.fingerprint, keep=keep, warn=warn)


class ShardStore(CheckpointStore):
    """This process' shares of the checkpoints of one run.

    Two stay at least: a process may have written a checkpoint that another one is still writing,
    and then needs the one before. No process may begin one before all have ended the last.

    Args:
        folder: Of all processes' shares.
        fingerprint: Of code, data and params; a checkpoint of another one is refused.
        keep: How many stay.
        accelerator: Which process this is, of how many.
    """

    def __init__(
        self, folder: Path, *, fingerprint: str, keep: int, accelerator: Accelerator
    ) -> None:
        self._shares, self._count = folder, accelerator.num_processes
        own = f"rank-{accelerator.process_index}-of-{self._count}"
        super().__init__(
            folder / own,
            fingerprint=fingerprint,
            keep=max(keep, 2),
            warn=lambda text: say(f"train: in {own}, {text}"),
        )

    def latest(self, before: int | None = None) -> Path | None:
        """The newest checkpoint whose shares are all intact; all processes have to ask.

        Raises:
            NadirError: It was made by other code, data or params, or by more or fewer processes.
        """
        self._check_count()
        while True:
            folder = super().latest(before)
            steps = gather_object([step_of(folder) if folder else _NONE])
            if min(steps) == max(steps):
                return folder
            before = min(steps) + 1

    def load(self, folder: Path) -> Snapshot:
        """See `CheckpointStore.load`; facts are the first process', which notes them."""
        snapshot = super().load(folder)
        (facts,) = broadcast_object_list([snapshot.facts])
        return replace(snapshot, facts=facts)

    def _check_count(self) -> None:
        for path in sorted(self._shares.glob("rank-*")):
            found = _RANK.fullmatch(path.name)
            if found and int(found[1]) != self._count and any(path.glob("step-*")):
                raise NadirError(
                    f"the checkpoints were written by {found[1]} processes, each with its share of "
                    f"the model, and now there are {self._count}",
                    where=str(self._shares),
                    fix=f"train in {found[1]} processes (compute.processes) to go on, or delete "
                    "the folder to train from the start",
                )
