"""One job: its training and its measures, each made once and kept by what it depends on."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground import artifacts
from nadir.ground.files import canonical_hash, read_json_object, write_json
from nadir.ground.workspace import PARAMS_FILE, main_workspace
from nadir.reproduction.arms import ARMS, DECODER, Arm, Job, Size
from nadir.reproduction.data import code_hash, data_hash, data_project, link_base

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKPOINT = Path("training/output/checkpoint")


@dataclass(frozen=True)
class Place:
    """Where a reproduction works, and at what size.

    Attributes:
        root: The project's root.
        size: Of everything.
    """

    root: Path
    size: Size

    @property
    def work(self) -> Path:
        """`work/reproduction` of the main workspace."""
        return main_workspace(self.root) / "work" / "reproduction"

    def data(self, name: str) -> Path:
        """The data project `clean` or `noisy`, made when it is first asked for."""
        return data_project(self.root, self.work, name, self.size)

    def key(self, job: Job) -> str:
        """16 hex digits of the job's settings, code, data and parent: what its weights depend on.

        What is measured of it has files of its own.
        """
        return _key(self, job.arm, job.seed)

    def folder(self, job: Job) -> Path:
        """Where the job's training and numbers lie."""
        return self.work / "arms" / f"{job.name}-{self.key(job)}"


@functools.cache
def _key(place: Place, arm: Arm, seed: int) -> str:
    """Computed once a process, so that an edit under way does not part a job from its results."""
    parent = _key(place, ARMS[arm.parent], seed) if arm.parent else None
    parts = [list(arm.settings), arm.steps(place.size), seed, parent]
    return canonical_hash([*parts, code_hash(), data_hash(place.data(arm.dataset))])[:16]


def run_job(place: Place, job: Job, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Train and measure what is not there yet.

    Args:
        place: Where, and how large.
        job: What.
        say: Told what was done.

    Returns:
        Measures by name, as `measuring.measure` gives them.

    Raises:
        NadirError: The training failed or was stopped; what was done is kept.
    """
    folder = place.folder(job)
    if job.arm.parent and not (place.folder(_parent(job)) / CHECKPOINT).is_dir():
        run_job(place, _parent(job), say=say)
    if job.arm.network and not (folder / CHECKPOINT).is_dir():
        seconds = _train(place, job, folder)
        _note_cost(folder, "train", seconds)
        say(f"{job.name}: trained {job.arm.steps(place.size)} steps in {seconds:.0f} s")
    return {name: _measured(place, job, name, say) for name in job.measures}


def kept_results(place: Place, job: Job) -> dict[str, Any]:
    """The measures of a job that are there already, without computing any."""
    folder = place.folder(job) / "measures"
    return {n: read_json_object(p) for n in job.measures if (p := folder / f"{n}.json").is_file()}


def costs(folder: Path) -> dict[str, float]:
    """Seconds that a job's training and measures took, by name."""
    path = folder / "seconds.json"
    return read_json_object(path) if path.is_file() else {}


def _parent(job: Job) -> Job:
    return Job(ARMS[job.arm.parent or ""], job.seed, ())


def _measured(place: Place, job: Job, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    from nadir.compute.threads import one_thread

    folder = place.folder(job)
    file = folder / "measures" / f"{name}.json"
    if not file.is_file():
        begin = time.monotonic()
        with one_thread():
            found = _measure(place, job, name)
        _note_cost(folder, name, time.monotonic() - begin)
        write_json(file, found)
        say(f"{job.name}: {name} in {time.monotonic() - begin:.0f} s")
    return read_json_object(file)


def _measure(place: Place, job: Job, name: str) -> dict[str, Any]:
    from nadir.reproduction.decoder import traces_of_jpeg
    from nadir.reproduction.measuring import measure

    # The real pictures are the clean ones, whatever an arm was told of them.
    data = place.data("clean")
    if name == DECODER:
        return traces_of_jpeg(data, seed=job.seed, steps=place.size.decoder_steps)
    return measure(data, place.folder(job) / CHECKPOINT, name)


def _train(place: Place, job: Job, folder: Path) -> float:
    """Train in a project of its own that shares data and base; killed, it goes on."""
    from nadir.compute.threads import one_thread
    from nadir.config.reader import read_section
    from nadir.config.train import TrainParams
    from nadir.training.main import make_accelerator, run_training
    from nadir.training.run_files import CHECKPOINTS
    from nadir.training.stop_request import StopRequest

    begin = time.monotonic()
    _lay_out(place, job, folder)
    with contextlib.chdir(folder), one_thread(), StopRequest() as stop, _without_reporter():
        params = read_section("train", TrainParams)
        run_training(Path("training"), place.key(job), params, make_accelerator(params), stop)
    shutil.rmtree(folder / "training" / CHECKPOINTS, ignore_errors=True)
    return time.monotonic() - begin


def _lay_out(place: Place, job: Job, folder: Path) -> None:
    from nadir.config.edit import set_values

    data, arm = place.data(job.arm.dataset), job.arm
    (folder / "models").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / "dvc.yaml", folder / "dvc.yaml")
    shutil.copyfile(data / PARAMS_FILE, folder / PARAMS_FILE)
    steps = arm.steps(place.size)
    fewer = [f"train.warmup_steps={min(10, steps // 4)}", f"train.steps={steps}"]
    set_values([*arm.settings, *fewer, f"train.seed={job.seed}"], folder / PARAMS_FILE)
    if not (folder / "data").is_symlink():
        (folder / "data").symlink_to(data / "data")
    base = folder / artifacts.BASE
    if arm.parent:
        link_base(data / artifacts.BASE, place.folder(_parent(job)) / CHECKPOINT, base)
    elif not base.is_symlink():
        base.symlink_to(data / artifacts.BASE)


@contextlib.contextmanager
def _without_reporter() -> Any:
    """The arm has a run of its own, whatever training this process may be part of."""
    kept = os.environ.pop("NADIR_REPORTER", None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ["NADIR_REPORTER"] = kept


def _note_cost(folder: Path, name: str, seconds: float) -> None:
    known = costs(folder)
    write_json(folder / "seconds.json", {**known, name: known.get(name, 0.0) + seconds})
