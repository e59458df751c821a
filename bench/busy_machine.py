"""Training steps of the tiny preset beside other busy processes, by how its threads wait.

    python -m bench.busy_machine [--seconds 3] [--rounds 5] [--load 0 2 8]

Each configuration is a process of its own that makes real steps (U-Net, loss, Muon, average) on
random latents; they take turns in random order while the given number of processes does nothing
but compute. All ratios are of one turn each, side by side in time, so load by others changes them
less than the rates. `--quiet` gives the process whose turn it is the cores before all others
(SCHED_RR; needs root), which shows an idle machine where there is none.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
from bench.performance import PAGE
from bench.results import ROOT, table, write_section

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE = "1 thread"
OURS = "all cores, 15,000 spins"
BEFORE = "all cores, default"
CORES = str(len(os.sched_getaffinity(0)))
CONFIGURATIONS = {
    BEFORE: {"OMP_NUM_THREADS": CORES},
    OURS: {"OMP_NUM_THREADS": CORES, "GOMP_SPINCOUNT": "15000"},
    "all cores, passive": {"OMP_NUM_THREADS": CORES, "OMP_WAIT_POLICY": "passive"},
    ONE: {"OMP_NUM_THREADS": "1"},
}
_WARM_UP_STEPS = 2


def serve() -> None:
    """Child: for each line with a number, make steps for so many seconds; answer rate and CPU."""
    import torch
    from accelerate import Accelerator

    from nadir.config.edit import read_params
    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.model.tiny.networks import build_unet
    from nadir.training.losses.objective import Batch, Objective
    from nadir.training.stop_request import StopRequest
    from nadir.training.train_step import TrainStep
    from nadir.training.trainable import FullUNet

    params = read_params(ROOT / "presets" / "tiny.yaml")
    tiny, count = params.base_model.tiny, params.train.batch_size
    torch.manual_seed(0)
    schedule = NoiseSchedule.from_settings(**params.noise.model_dump())
    objective = Objective(schedule, params.noise, params.train.loss_weight)
    train_step = TrainStep(
        FullUNet(build_unet(tiny)), params.train, objective, Accelerator(cpu=True)
    )
    batch = Batch(
        latents_BCHW=torch.randn(count, 4, 16, 16),
        noise_BCHW=torch.randn(count, 4, 16, 16),
        timesteps_B=torch.randint(0, params.noise.timesteps, (count,)),
        hidden_BSD=torch.randn(count, 77, sum(tiny.text_hidden)),
        pooled_BP=torch.randn(count, tiny.text_hidden[1]),
        time_ids_B6=torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]]).repeat(count, 1),
        weights_B=torch.ones(count),
    )
    with StopRequest() as stop:
        for number in range(_WARM_UP_STEPS):
            train_step.step(number, batch, stop)
        print("ready", flush=True)
        for line in sys.stdin:
            start, processor, steps = time.perf_counter(), time.process_time(), 0
            while (wall := time.perf_counter() - start) < float(line):
                train_step.step(_WARM_UP_STEPS, batch, stop)
                steps += 1
            print(steps / wall, (time.process_time() - processor) / steps, flush=True)


class Trainer:
    """A child with its configuration, warm and waiting."""

    def __init__(self, environment: dict[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.busy_machine", "--serve"],
            cwd=ROOT,
            env={**kept, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def measure(self, seconds: float, *, first: bool) -> tuple[float, float]:
        """Steps per second, and CPU seconds per step."""
        if first:
            self._schedule(os.SCHED_RR, 1)
        print(seconds, file=self._process.stdin, flush=True)
        rate, processor = (float(word) for word in self._answer().split())
        if first:
            self._schedule(os.SCHED_OTHER, 0)
        return rate, processor

    def end(self) -> None:
        """Close its input, which ends it."""
        self._process.communicate()

    def _answer(self) -> str:
        return next(iter(self._process.stdout or ()))

    def _schedule(self, policy: int, priority: int) -> None:
        for thread in psutil.Process(self._process.pid).threads():
            os.sched_setscheduler(thread.id, policy, os.sched_param(priority))


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that only compute."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def compare(
    trainers: dict[str, Trainer], rounds: int, seconds: float, *, first: bool
) -> dict[str, list[tuple[float, float]]]:
    """Each configuration's turns, in an order that is drawn anew each round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    for _ in range(rounds):
        for name in random.sample(list(trainers), len(trainers)):
            found[name].append(trainers[name].measure(seconds, first=first))
    return found


def rows(load: str, found: dict[str, list[tuple[float, float]]]) -> list[list[str]]:
    """Medians over the turns, and of the rates' ratios within each round."""

    def ratio(name: str, to: str) -> str:
        pairs = zip(found[name], found[to], strict=True)
        return f"{statistics.median(other[0] / own[0] for own, other in pairs):.2f}"

    return [
        [
            load,
            name,
            f"{statistics.median(rate for rate, _ in turns):.2f}",
            f"{1000 * statistics.median(cpu for _, cpu in turns):.0f}",
            ratio(name, BEFORE),
            ratio(name, ONE),
        ]
        for name, turns in found.items()
    ]


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--load", type=int, nargs="+", default=[0, 2, 8], help="busy processes")
    parser.add_argument("--quiet", action="store_true", help="also with the cores to itself (root)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    before = os.getloadavg()[0]
    trainers = {name: Trainer(environment) for name, environment in CONFIGURATIONS.items()}
    body: list[list[str]] = []
    if options.quiet:
        turns = compare(trainers, options.rounds, options.seconds, first=True)
        body += rows("before all others", turns)
    for load in options.load:
        with busy(load):
            turns = compare(trainers, options.rounds, options.seconds, first=False)
        body += rows(str(load), turns)
    for trainer in trainers.values():
        trainer.end()
    head = ["busy", "threads", "steps/s", "CPU ms/step", "time : default", "time : 1 thread"]
    text = TEXT.format(cores=CORES, load=f"{before:.1f}", rounds=options.rounds)
    write_section(PAGE, "", "A busy machine", f"{text}\n{table(head, body)}")


TEXT = """\
Training steps of the tiny preset in {cores} threads beside processes that only compute; medians of
{rounds} turns. Load by others when it began: {load}. `time : default` is how long a step takes
against OpenMP's default, which spins up to 300,000 times at each wait; below 1 is quicker.
`time : 1 thread` compares with a training that waits for no other thread, so it is what the share
of one process on that machine gives. The rule: on a quiet machine at most 1.05 of the default, on a
busy one at most 1.5 of one thread. Results are equal to the bit however threads wait; they do
depend on the number of threads, so that is not changed while training runs.
`before all others` gives the training the cores first (SCHED_RR), which stands for a quiet machine
where there is none, and only roughly: others run in every gap. Three such measurements gave 0.99,
1.14 and 1.15 for 15,000 spins; on an idle machine `--load 0` says more.
"""


if __name__ == "__main__":
    main()
