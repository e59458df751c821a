"""`nadir train --check`: two real batches, a save, a resume, and a comparison to the bit."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object

from nadir.compute.devices import peak_memory
from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_folder, write_json
from nadir.training.reports.divergence import diverged
from nadir.training.run_files import CHECK, OUTPUT
from nadir.training.sharding.checkpoints import open_store
from nadir.training.stop_request import stopped_early

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from accelerate import Accelerator

    from nadir.training.run import Run
    from nadir.training.state import Snapshot
    from nadir.training.stop_request import StopRequest
    from nadir.training.train_step import StepResult, TrainStep


def run_check(
    run: Run, make_step: Callable[[], TrainStep], accelerator: Accelerator, stop: StopRequest
) -> None:
    """Make the run's first two steps, then the second again from a checkpoint of the first.

    Leaves `check.json` in the work folder's `output`: seconds, losses, peak memory.

    Args:
        run: The real one, in a work folder that is thrown away.
        make_step: A new `TrainStep` from the base model's weights.
        accelerator: Says which process this is.
        stop: Asked between the parts.

    Raises:
        NadirError: A loss is not finite, no weight changed, or the resumed step differs.
    """
    check = _Check(run, accelerator, stop)
    train_step = make_step()
    start = dict(digests(train_step.snapshot(0, {}).weights, "weights"))
    first, first_s = check.step(train_step, 0)
    saved = check.save(train_step)
    second, second_s = check.step(train_step, 1)
    straight = snapshot_digests(train_step.snapshot(2, {}))
    changed = sum(straight[name] != digest for name, digest in start.items())
    if not any(check.from_all([changed])):
        raise _nothing_trained()
    del train_step
    resumed, resume_s = check.resumed(make_step)
    # Each process may have tensors, or shares of them, that no other one has.
    if different := sorted({*check.from_all(differing(straight, resumed))}):
        repeats = all(check.from_all([check.resumed(make_step)[0] == resumed]))
        raise _differs(different, len(straight), device_repeats=repeats)
    memory = peak_memory()
    facts = {
        "images": len(run.samples),
        "buckets": len(run.samples.buckets),
        "processes": accelerator.num_processes,
        "device": accelerator.device.type,
        "steps": [_step_facts(first, first_s), _step_facts(second, second_s)],
        "trained_tensors": len(start),
        "changed_tensors": changed,
        "compared_tensors": len(straight),
        "resume_s": resume_s,
        **saved,
        "peak_bytes": memory["main"],
        **({"peak_gpu_bytes": memory["gpu"]} if "gpu" in memory else {}),
    }
    if accelerator.is_main_process:
        with atomic_folder(run.work / OUTPUT) as temporary:
            write_json(temporary / CHECK, facts)


class _Check:
    """The parts of a check, each timed.

    Args:
        run: What to train on.
        accelerator: Says which process this is.
        stop: Asked before each part.
    """

    def __init__(self, run: Run, accelerator: Accelerator, stop: StopRequest) -> None:
        self._run, self._accelerator, self._stop = run, accelerator, stop
        self._store = open_store(run, accelerator, keep=1, warn=lambda _: None)

    def step(self, train_step: TrainStep, number: int) -> tuple[StepResult, float]:
        """Step `number` on its real batch, and its seconds."""
        self._end_at_a_stop()
        begin = time.monotonic()
        accelerator = self._accelerator
        batch = self._run.loader.batch(
            number, rank=accelerator.process_index, ranks=accelerator.num_processes
        )
        result = train_step.step(number, batch, self._stop)
        if not math.isfinite(result.loss):
            raise diverged(result.loss, number, self._run)
        return result, time.monotonic() - begin

    def save(self, train_step: TrainStep) -> dict[str, float]:
        """A checkpoint after step 1, as the training writes it: its bytes and seconds."""
        self._end_at_a_stop()
        begin, size = time.monotonic(), 0
        if self._accelerator.is_main_process or self._run.train.parallel == "fsdp":
            folder = self._store.save(train_step.snapshot(1, {}))
            size = sum(path.stat().st_size for path in folder.iterdir())
        size = sum(self.from_all([size]))  # waits for all
        return {"save_bytes": size, "save_s": time.monotonic() - begin}

    def resumed(self, make_step: Callable[[], TrainStep]) -> tuple[dict[str, str], float]:
        """Step 2 made from the checkpoint: digests of all that it leaves, seconds of loading."""
        self._end_at_a_stop()
        self._accelerator.free_memory()
        begin = time.monotonic()
        train_step = make_step()
        folder = self._store.latest()
        if folder is None:
            raise NadirError(
                "the checkpoint that was just written is damaged",
                where=str(self._store.folder),
                fix="look at the disk: what is written there does not come back",
            )
        train_step.restore(self._store.load(folder))
        seconds = time.monotonic() - begin
        self.step(train_step, 1)
        return snapshot_digests(train_step.snapshot(2, {})), seconds

    def from_all(self, values: list[Any]) -> list[Any]:
        """The values of all processes, in all of them."""
        gathered: list[Any] = gather_object(values)
        return gathered

    def _end_at_a_stop(self) -> None:
        if self._stop.requested:
            raise stopped_early()


def snapshot_digests(snapshot: Snapshot) -> dict[str, str]:
    """sha256 of each tensor of weights, average and optimizer, by name; plain values as text."""
    found = dict(digests(snapshot.weights, "weights"))
    found |= digests(snapshot.average or {}, "average")
    found |= digests(snapshot.optimizer, "optimizer")
    return found


def digests(tree: Any, name: str) -> Iterator[tuple[str, str]]:
    """Names and digests of what a tree of mappings, lists and tensors holds."""
    if isinstance(tree, torch.Tensor):
        yield from _tensor_digests(tree, name)
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from digests(value, f"{name}/{key}")
    elif isinstance(tree, list | tuple):
        for place, value in enumerate(tree):
            yield from digests(value, f"{name}/{place}")
    else:
        yield name, repr(tree)


def _tensor_digests(tensor: torch.Tensor, name: str) -> Iterator[tuple[str, str]]:
    if hasattr(tensor, "__tensor_flatten__"):  # quantised states hold several plain tensors
        for part in tensor.__tensor_flatten__()[0]:
            yield from digests(getattr(tensor, part), f"{name}/{part}")
        return
    # One tensor at a time comes to the CPU, so that a large model needs no second copy.
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    yield name, hashlib.sha256(flat.numpy().data).hexdigest()


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Names whose digests are not equal in both, in order."""
    return sorted(n for n in {*first, *second} if first.get(n) != second.get(n))


def _step_facts(result: StepResult, seconds: float) -> dict[str, float]:
    return {"loss": result.loss, "gradient_norm": result.gradient_norm, "seconds": seconds}


def _nothing_trained() -> NadirError:
    return NadirError(
        "two steps changed no weight, so this training would learn nothing",
        where="train",
        fix="raise train.learning_rate; with fp16 the first steps may be skipped, use bf16 or no",
    )


def _differs(different: list[str], count: int, *, device_repeats: bool) -> NadirError:
    why = (
        "the same step twice from the checkpoint is equal, so the checkpoint lacks something"
        if device_repeats
        else "the same step twice from the checkpoint differs as well, so it is the device that "
        "does not repeat itself"
    )
    return NadirError(
        f"after a resume {len(different)} of {count} tensors differ, `{different[0]}` first; {why}",
        where="train",
        fix="report it with params.yaml"
        if device_repeats
        else "a resumed training will be as good, but not equal to the bit",
    )
