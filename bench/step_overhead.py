"""The trainer's step beside a bare loop that computes the same.

    python -m bench.step_overhead [--keep FOLDER] [--steps 12] [--rounds 5]

The bare loop has its batches ready in memory: forward, backward, clipping, the same optimizer and
average, nothing else. The trainer's steps are whole: latents, captions, tokens, text encoders,
noise, the step, what it notes and tells. Both train the tiny preset on the sample pictures with one
thread; short blocks of either take turns in random order. What counts is the CPU time of all
threads, the one that makes batches included, so that nothing hides beside anything.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.state import AcceleratorState
from bench.performance import PAGE
from bench.quality import prepare
from bench.results import table, write_section

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.model.sdxl.calling import call_unet
from nadir.training.main import make_accelerator, prepare_run
from nadir.training.optim.optimizers import make_optimizer
from nadir.training.reports.reporter import NoReporter
from nadir.training.stop_request import StopRequest
from nadir.training.train_step import TrainStep
from nadir.training.trainable import make_trainable
from nadir.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.training.run import Run

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "AdamW": {"optimizer": "adamw", "learning_rate": 3e-4},
    "Muon": {"optimizer": "muon"},
    "AdamW, text states kept": {"optimizer": "adamw", "learning_rate": 3e-4, "text_cache": 4},
    "Muon, text states kept": {"optimizer": "muon", "text_cache": 4},
}
_BLOCKS = 4
_BODY = """\
The tiny preset (16 pictures of 64 x 64 a step) beside a bare loop of the same forward, backward,
clipping, optimizer and average, whose batches lie ready in memory; one thread, CPU time of all
threads, the one that makes batches included, blocks of either in random order. Both text encoders
run in each of the trainer's steps, as captions are shuffled and dropped anew; the bare loop has no
text to encode. That is most of the difference; with `train.text_cache: 4` states of four captions
of each image are made before the first step, whose time is not counted here, and read in each."""
_QUIET: dict[str, Any] = {"preview_every": 0, "checkpoint_every": 10**9}


class Bare:
    """The loop that anybody would write, its batches ready."""

    def __init__(self, run: Run, params: TrainParams, steps: int) -> None:
        trainable = make_trainable(params, Path("models/base"), run.text)
        self._unet, self._weights = trainable.network.train(), trainable.weights()
        self._optimizer = make_optimizer(self._weights, params, trainable.rate_factors())
        self._average = [weight.detach().clone() for weight in self._weights.values()]
        self._decay, self._limit = params.ema_decay, params.max_gradient_norm
        self._ready = [self._prepared(run, step) for step in range(steps)]
        self._made = 0

    def _prepared(self, run: Run, step: int) -> tuple[Any, ...]:
        """Noised input, target and weights of a batch, by the run's own objective."""
        batch, seen = run.loader.batch(step), {}

        def note(noisy: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            seen["inputs"] = (noisy, *rest)
            return torch.zeros_like(noisy)

        run.objective(note, batch)
        alphas_B111 = run.objective.schedule.alphas_cumprod[batch.timesteps_B].float()
        alphas_B111 = alphas_B111[:, None, None, None]
        clean, noise = batch.latents_BCHW, batch.noise_BCHW
        wanted_BCHW = alphas_B111.sqrt() * noise - (1 - alphas_B111).sqrt() * clean
        weights_B = run.objective.weights_T[batch.timesteps_B].float() * batch.weights_B
        return seen["inputs"], wanted_BCHW, weights_B

    def step(self) -> None:
        """Forward, backward, clip, optimizer, average."""
        inputs, wanted_BCHW, weights_B = self._ready[self._made % len(self._ready)]
        self._made += 1
        error_B = (call_unet(self._unet, *inputs) - wanted_BCHW).square().mean(dim=(1, 2, 3))
        (error_B * weights_B).mean().backward()
        torch.nn.utils.clip_grad_norm_(self._weights.values(), self._limit)
        self._optimizer.step()
        self._optimizer.zero_grad()
        with torch.no_grad():
            weights = list(self._weights.values())
            torch._foreach_lerp_(self._average, weights, 1 - self._decay)


class Whole:
    """The trainer's own steps, without a beginning and an end."""

    def __init__(self, run: Run, params: TrainParams) -> None:
        accelerator = make_accelerator(params)
        trainable = make_trainable(params, Path("models/base"), run.text)
        step = TrainStep(trainable, params, run.objective, accelerator)
        self._trainer = Trainer(run, step, accelerator, StopRequest())
        self._trainer._begin()  # noqa: SLF001

    def step(self) -> None:
        """As `Trainer.train` makes one."""
        self._trainer._advance()  # noqa: SLF001

    def settle(self) -> None:
        """Wait for the batch that is being made, so that its time is counted here."""
        self._trainer._batches.settle()  # noqa: SLF001


def measure(name: str, *, steps: int, rounds: int) -> list[tuple[float, float]]:
    """CPU ms a step of both in each round: bare, ours."""
    usual = read_section("train", TrainParams).model_dump(mode="json", by_alias=True)
    given = usual | {"steps": 10**6} | _QUIET | OPTIMIZERS[name]
    params = TrainParams.model_validate_json(json.dumps(given))
    # Accelerate keeps the precision of a process' first training.
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
    torch.manual_seed(0)
    run = prepare_run(Path("work"), "bench", params, make_accelerator(params), NoReporter())
    bare, whole = Bare(run, params, steps), Whole(run, params)
    turns: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (bare.step, lambda: None),
        (whole.step, whole.settle),
    ]
    for turn in turns:
        _block(*turn, steps)  # every tag has been read, all memory is there
    order = random.Random(0)
    found = []
    for _ in range(rounds):
        taken: dict[int, list[float]] = {0: [], 1: []}
        for place in order.sample([0, 1] * _BLOCKS, 2 * _BLOCKS):
            taken[place].append(_block(*turns[place], steps))
        found.append((statistics.median(taken[0]), statistics.median(taken[1])))
        print(f"{name}: bare {found[-1][0]:.1f}, ours {found[-1][1]:.1f} ms", flush=True)
    return found


def _block(step: Callable[[], None], end: Callable[[], None], count: int) -> float:
    """CPU ms a step of all threads, over some steps."""
    begin = time.process_time()
    for _ in range(count):
        step()
    end()
    return 1000 * (time.process_time() - begin) / count


def main() -> None:
    """Measure in a prepared project and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder of a project, made if missing")
    parser.add_argument("--steps", type=int, default=8, help="of a block")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        if not (folder / "data" / "latents" / "index.parquet").is_file():
            prepare(folder)
        with chdir(folder):
            found = {
                name: measure(name, steps=options.steps, rounds=options.rounds)
                for name in OPTIMIZERS
            }
    rows = [_row(name, rounds) for name, rounds in found.items()]
    header = ["optimizer", "bare, ms", "trainer, ms", "trainer : bare", "by round"]
    body = f"{_BODY}\n\n{table(header, rows)}"
    write_section(PAGE, "", "The trainer's step", body)


def _row(name: str, rounds: list[tuple[float, float]]) -> list[str]:
    ratios = [ours / bare for bare, ours in rounds]
    bare, ours = (statistics.median(values) for values in zip(*rounds, strict=True))
    by_round = ", ".join(f"{ratio:.3f}" for ratio in sorted(ratios))
    return [name, f"{bare:.1f}", f"{ours:.1f}", f"{statistics.median(ratios):.3f}", by_round]


if __name__ == "__main__":
    main()
