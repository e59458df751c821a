"""Does training in little memory cost quality? Three ways to fine-tune the tiny preset.

A tiny SDXL is trained on drawn sample pictures in float32 at a high learning rate, then fine-tuned
from there at a low one, where what rounding loses shows best: in float32 with AdamW; with weights
in bfloat16 under stochastic rounding, 8-bit moments and the step inside backward; and the same
rounded to nearest, which is no setting of Nadir and is patched in here. Nothing else differs, and
there is no weight average, which would hide the rounding of the weights that are trained on.

    python -m bench.quality [--steps N] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch
from accelerate.state import AcceleratorState
from bench.performance import write
from bench.results import ROOT, table

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.evaluation.metrics.brightness import region_luminance
from nadir.training.main import make_accelerator, prepare_run
from nadir.training.optim import by_parameter
from nadir.training.reports.reporter import NoReporter
from nadir.training.stop_request import StopRequest
from nadir.training.train_step import TrainStep
from nadir.training.trainable import make_trainable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

    from nadir.training.run import Run

STAGES = (
    "ingest",
    "validate",
    "base_model",
    "tag_statistics",
    "bucket",
    "encode",
    "latent_statistics",
)
IMAGES, BATCH = 600, 8
BASE_STEPS, BASE_RATE = 200, 1e-3
RATE = 1e-4
SEEDS = (0, 1, 2)
SMALL = {
    "optimizer": "adamw_8bit",
    "weights": "bf16",
    "mixed_precision": "bf16",
    "step_in_backward": True,
}
WAYS: dict[str, dict[str, Any]] = {
    "fp32, AdamW": {},
    "bf16 with rounding by chance, 8-bit AdamW in backward": SMALL,
    "the same, rounded to nearest": SMALL,
}
NEAREST = "the same, rounded to nearest"
BANDS = ("low_sigma", "mid_sigma", "high_sigma")
_PROMPTS = {
    "black": ("1girl, solo", "1boy, solo", "1girl, red_hair", "1girl, smile"),
    "white": ("1girl, solo", "1boy, solo", "1girl, red_hair", "1girl, smile"),
}


def prepare(folder: Path) -> None:
    """Sample pictures, their latents, and a tiny base: what `make run` makes before it trains."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder / name)
    nadir = str(Path(sys.executable).with_name("nadir"))
    sample = [nadir, "sample-data", "data/sample", "--images", str(IMAGES)]
    stages = [[sys.executable, "-m", f"nadir.stages.{stage}"] for stage in STAGES]
    for command in (sample, *stages):
        subprocess.run(command, cwd=folder, check=True)


def settings(*, steps: int, rate: float, seed: int, **changes: Any) -> TrainParams:
    """`train` of the project at the working directory for one of the trainings."""
    prompts = [f"{tags}, {name}_background" for name, all_ in _PROMPTS.items() for tags in all_]
    given: dict[str, Any] = {
        "steps": steps,
        "learning_rate": rate,
        "seed": seed,
        "batch_size": BATCH,
        "optimizer": "adamw",
        "ema_decay": 0.0,
        "warmup_steps": steps // 20,
        "preview_every": steps,
        "preview_prompts": prompts,
        "validation": {"every": steps, "images": 64, "levels": 2},
    } | changes
    usual = read_section("train", TrainParams).model_dump(mode="json", by_alias=True)
    return TrainParams.model_validate_json(json.dumps(usual | given))


def train(params: TrainParams, start: Mapping[str, torch.Tensor] | None) -> tuple[Any, Run]:
    """The U-Net after a whole training, and the run that measures it."""
    # Accelerate keeps the precision of a process' first training.
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
    accelerator = make_accelerator(params)
    torch.manual_seed(params.seed)
    run = prepare_run(Path("work"), "bench", params, accelerator, NoReporter())
    trainable = make_trainable(params, Path("models/base"), run.text)
    if start:
        trainable.network.load_state_dict(start)
    step, stop = TrainStep(trainable, params, run.objective, accelerator), StopRequest()
    for number in range(params.steps):
        step.step(number, run.loader.batch(number), stop)
    return trainable.network, run


def measure(network: Any, run: Run) -> dict[str, float]:
    """Held-out x0 error by band, and what black and white backgrounds came out as."""
    if run.validator is None or run.previews is None:
        sys.exit("no held-out images or no previews")
    # In float32, as it would be used: what differs are the weights.
    network = network.float()
    errors = run.validator.measure(network)
    found = {name: errors[name] for name in BANDS}
    found["mean"] = statistics.mean(found.values())
    drawn = list(run.previews.draw(network))
    for name in _PROMPTS:
        regions = [_border(image) for prompt, image in drawn if f"{name}_background" in prompt]
        found[name] = statistics.mean(regions)
    return found


def _border(image: Image) -> float:
    """Luminance (0-1) of a picture's background."""
    pixels_HWC = np.asarray(image.convert("RGB")) / 255
    pixels_CHW = pixels_HWC.transpose(2, 0, 1).astype(np.float32)
    return float(region_luminance(pixels_CHW[None], "border")[0])


def compare(steps: int) -> str:
    """The section of docs/performance.md."""
    begin = time.process_time()
    base, run = train(settings(steps=BASE_STEPS, rate=BASE_RATE, seed=100), None)
    before, start = measure(base, run), copy.deepcopy(base.state_dict())
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for seed in SEEDS:
        for way, changes in WAYS.items():
            nearest = patch.object(by_parameter, "rounded", _nearest)
            with nearest if way == NEAREST else nullcontext():
                params = settings(steps=steps, rate=RATE, seed=seed, **changes)
                found[way].append(measure(*train(params, start)))
            print(seed, way, found[way][-1], flush=True)
    return report(before, found, steps, time.process_time() - begin)


def _nearest(value: torch.Tensor, **_: Any) -> torch.Tensor:
    return value.to(torch.bfloat16)


def report(
    before: dict[str, float], found: dict[str, list[dict[str, float]]], steps: int, cpu_s: float
) -> str:
    """What was measured, and whether the ways differ by more than seeds do.

    Args:
        before: Of the model that is fine-tuned.
        found: By way and seed.
        steps: Of each fine-tuning.
        cpu_s: Processor time of all trainings.
    """
    names = ("mean", *BANDS, *_PROMPTS)
    reference = found["fp32, AdamW"]
    rows = [["before", *(f"{before[name]:.4f}" for name in names), "", ""]]
    for way, values in found.items():
        cells = [_mean_and_spread([one[name] for one in values]) for name in names]
        apart = [own["mean"] - other["mean"] for own, other in zip(values, reference, strict=True)]
        learned = 1 - statistics.mean(apart) / (
            before["mean"] - statistics.mean(one["mean"] for one in reference)
        )
        beside = "" if values is reference else ", ".join(f"{one:+.4f}" for one in apart)
        rows.append([way, *cells, beside, f"{learned:.0%}"])
    noise = statistics.stdev(one["mean"] for one in reference)
    header = ["", "x0 error", "low", "mid", "high", "black", "white"]
    header += ["beside fp32, by seed", "of fp32's gain"]
    return (
        f"torch {torch.__version__}. A tiny SDXL, {IMAGES} sample pictures, batch {BATCH}; "
        f"{BASE_STEPS} steps of AdamW at {BASE_RATE:g} in float32 made the model that each way "
        f"then trained for {steps} steps at {RATE:g}, with {len(SEEDS)} seeds, which are those of "
        "batches, timesteps, noise and rounding. No weight average. "
        "Held-out x0 error by band of sigma on 32 images and fixed noise; black, white: luminance "
        "(0 to 1) of the background of four pictures each whose prompts ask for it. Mean of the "
        f"seeds ± their standard deviation; {cpu_s / 60:.0f} CPU-minutes in all.\n\n"
        + table(header, rows)
        + f"\n\nSeeds of float32 differ by {noise:.4f} (standard deviation)."
    )


def _mean_and_spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def main() -> None:
    """Train, measure, write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120, help="of each fine-tuning")
    parser.add_argument("--folder", type=Path, help="project that stays for the next time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        if not (folder / "data/latent_statistics.json").is_file():
            prepare(folder)
        os.chdir(folder)
        write("Quality in little memory", compare(options.steps))
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
