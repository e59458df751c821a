from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.small_training import batch as small_batch
from tests.support.small_training import make_step, params_of
from tests.training.test_loader import loader_of, tensors
from torch.utils._python_dispatch import TorchDispatchMode

from nadir.config.train import TrainParams
from nadir.ground.errors import NadirError
from nadir.training.ahead import BatchesAhead
from nadir.training.losses.objective import Batch
from nadir.training.stop_request import StopRequest

ROOT = Path(__file__).resolve().parents[2]


def batch_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("batches-ahead")]


def test_batches_made_ahead_are_equal_to_the_bit(project: Path, train_params: TrainParams) -> None:
    params = train_params.model_copy(update={"batch_size": 4})
    alone, loader = loader_of(project, params), loader_of(project, params)
    with BatchesAhead(loader.batch, 6, in_thread=True) as batches:
        for step in range(2, 6):
            wanted = tensors(alone.batch(step))
            for name, tensor in tensors(batches.take(step)).items():
                assert torch.equal(tensor, wanted[name]), name
        assert batch_threads()
    assert not batch_threads()


def test_the_next_batch_is_made_while_the_step_is_and_none_beyond_the_last() -> None:
    made: list[int] = []

    def make(step: int) -> Any:
        made.append(step)
        return step

    with BatchesAhead(make, 3, in_thread=True) as batches:
        for step in range(3):
            assert int(batches.take(step)) == step  # type: ignore[call-overload]
            batches.settle()
            assert made == list(range(min(step + 2, 3)))


def test_without_a_thread_each_batch_is_made_when_it_is_taken() -> None:
    made: list[tuple[int, str]] = []

    def make(step: int) -> Any:
        made.append((step, threading.current_thread().name))
        return step

    with BatchesAhead(make, 3, in_thread=False) as batches:
        for step in range(3):
            batches.take(step)
            batches.settle()
            assert made == [(n, threading.current_thread().name) for n in range(step + 1)]


def test_a_fault_of_the_thread_comes_with_its_own_batch_and_the_thread_ends() -> None:
    def make(step: int) -> Batch:
        if step == 1:
            raise NadirError("a shard is damaged", where="data/latents", fix="write it again")
        return small_batch(step)

    with (
        pytest.raises(NadirError, match="a shard is damaged"),
        BatchesAhead(make, 9, in_thread=True) as batches,
    ):
        batches.take(0)
        batches.settle()  # what failed meanwhile is not the fault of who waits
        batches.take(1)
    assert not batch_threads()


class Reads(TorchDispatchMode):
    """Counts numbers that the host asks of a tensor, for which it would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **kwargs or {})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "muon"},
        {"gradient_accumulation": 2},
        {"weights": "bf16", "mixed_precision": "bf16"},
        {"weights": "bf16", "mixed_precision": "bf16", "step_in_backward": True},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "usual",
)
def test_a_step_reads_no_number_from_the_device(changes: dict[str, Any]) -> None:
    step = make_step(params_of(ROOT / "params.yaml", **changes), ROOT / "params.yaml")
    for number in range(2):
        batch = small_batch(number)
        with Reads() as reads:
            result = step.step(number, batch, StopRequest())
        assert reads.count == 0
        with reads:
            assert result.loss > 0
        assert reads.count == 1
