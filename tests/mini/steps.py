"""Stages of a miniature pipeline: real files, real DVC, real MLflow, no neural network.

Copied into a project of its own by the fixtures; `python steps.py STAGE` runs one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.events import Progress, emit, say
from nadir.ground.files import write_json, write_text
from nadir.ground.workspace import work_folder
from nadir.stages.runner import run

if TYPE_CHECKING:
    from nadir.tracking.runs.reporter import MlflowReporter


def ingest() -> None:
    write_text(Path("data/listing.txt"), Path("source.txt").read_text())
    say("ingest: 1 file")


def encode() -> None:
    text = Path("data/listing.txt").read_text()
    if "broken" in text:
        raise NadirError("the listing is broken", where="data/listing.txt", fix="mend source.txt")
    folder = Path("data/latents")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("a-b", "a/b", "a.b"):  # names that sort differently as text and as paths
        write_text(folder / name, text)
    for _ in Progress("encode", 3, "files", every_s=0).over(range(3)):
        pass
    emit("result", stage="encode", files=3)


def train() -> None:
    from nadir.pipeline.fingerprint import stage_fingerprint

    fingerprint = stage_fingerprint("train", Path.cwd())
    folder = work_folder("training") / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    untracked = os.environ.get("NADIR_TRACKING") == "none"
    slow = "slow" in Path("data/latents/a-b").read_text() and not (folder / "saved").is_file()
    text = Path("data/latents/a-b").read_text()
    steps = 3
    reporter = None if untracked else _track(folder, fingerprint)
    if reporter is not None and "held" in text:
        steps = _train_until_told(reporter, folder)
    if reporter is not None and not slow:
        reporter.finished("FINISHED")
    if slow:
        _wait_to_be_stopped(folder)
    run_id = None if reporter is None else reporter.run_id
    weight = random.Random(text).random()
    noise = {"noise": 8.0} if "noisy" in text else {}
    shutil.rmtree("models/checkpoint", ignore_errors=True)
    write_json(Path("models/checkpoint/nadir.json"), {"weight": weight, **noise})
    write_json(Path("models/run.json"), {"run_id": run_id, "fingerprint": fingerprint})
    write_json(Path("reports/training.json"), {"steps": steps, "images": 12, "loss_last_100": 0.5})


def _track(folder: Path, fingerprint: str) -> MlflowReporter:
    from nadir.tracking.runs.reporter import MlflowReporter
    from nadir.tracking.runs.training_run import open_run

    os.environ.update(open_run(folder, fingerprint))
    reporter = MlflowReporter()
    reporter.started({"device": "cpu"})
    for step in range(1, 4):
        reporter.step(step, 4 * step, {"loss": 1.0 / step})
    return reporter


def _train_until_told(reporter: MlflowReporter, folder: Path) -> int:
    """Ten steps a second, a file for MLflow with every twentieth; returns their number."""
    step = 3
    while not Path("work/go").exists():
        step += 1
        reporter.step(step, 4 * step, {"loss": 1.0 / step})
        if step % 20 == 0:
            write_text(folder / f"note-{step}.txt", f"step {step}")
            reporter.artifact(folder / f"note-{step}.txt")
        time.sleep(0.1)
    return step


def _wait_to_be_stopped(folder: Path) -> None:
    """Save on SIGINT, slowly, as a trainer does; the next attempt goes on and ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        say("train: waiting")  # tests send the signal as soon as they read this
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.5)
        write_text(folder / "saved", "yes")
        raise SystemExit(130) from None


def evaluate() -> None:
    checkpoint = json.loads(Path("models/checkpoint/nadir.json").read_text())
    weight = checkpoint["weight"]
    scales = {"3.5": {"contrast": weight}, "4.5": {"contrast": weight / 2}}
    gate = {"verdict": "promote", "reason": "", "checks": {}}
    numbers = {"protocol_id": "mini", "cfg_scales": scales, "gate": gate}
    write_json(Path("reports/evaluation.json"), numbers)
    _write_table(weight, checkpoint.get("noise", 0.0), Path("reports/evaluation.parquet"))
    write_text(Path("reports/evaluation.html"), "<p>report</p>")
    _draw_grid(Path("reports/samples/grid.png"))


def _write_table(weight: float, noise: float, path: Path) -> None:
    """The smaller the weight, the smaller the loss; what guards look at is the same in all.

    With noise, some images say the one and some the other.
    """
    from nadir.data.tables import write_table
    from nadir.evaluation.results import EVALUATION, to_table
    from nadir.evaluation.values import Row

    guards = ("brightness_error", "chroma_gap", "clip_gap", "diversity")
    rows = [Row(None, f"image_{i}", 0, "loss", weight + 0.01 * (i % 5) + noise * (i % 2 - 0.5))
            for i in range(16)]  # fmt: skip
    rows += [
        Row(scale, f"prompt_{i}", seed, metric, 0.1)
        for scale in (3.5, 4.5)
        for metric in guards
        for i in range(12)
        for seed in range(4)
    ]
    write_table(to_table(rows, protocol_id="mini", checkpoint=str(weight)), path, EVALUATION)


def _draw_grid(path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 30, 30)).save(path)


if __name__ == "__main__":
    run(sys.argv[1], globals()[sys.argv[1]])
