"""The whole way from pictures to trained weights, beside diffusers' own SDXL script.

    python -m bench.official_script --script FILE [--python PYTHON] [--rounds 3]

`FILE` is `examples/text_to_image/train_text_to_image_sdxl.py` of diffusers' repository, of the
installed version; it is no part of its package, nor of this project. `PYTHON` has what it imports
besides (torchvision, datasets, tensorboard). Without the script nothing is measured.

Both get the same 800 sample pictures with their tags and the same tiny base model, and train 150
steps of 16 pictures in float32: AdamW, v-prediction, min-SNR 5, a weight average, clipping at 1.
Nadir by `dvc repro train` in a fresh clone: listing, validation, statistics, buckets, latents and
training with its tracking in MLflow. The script by plain `python`, which costs less than
`accelerate launch`, with TensorBoard. Then both once more with more steps; a step is the difference
by the number of steps. Nadir shuffles and drops tags anew each step, so that its text encoders run
in each; with `train.text_cache: 1` it encodes once what the script does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from bench.performance import write
from bench.results import ROOT, table
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Sequence

PICTURES, BATCH, STEPS, MORE = 800, 16, 150, 450
RATE = 3e-4
_YAML = YAML()
# torch as it comes from PyPI for the CPU lacks operators that torchvision's package, built for
# CUDA, describes as it loads. The script uses none of them.
_RUN = """
import runpy, sys, types, torch
if not torch.cuda.is_available():
    name = "torchvision._meta_registrations"
    sys.modules[name] = types.ModuleType(name)
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
OURS: dict[str, dict[str, Any]] = {
    "captions encoded at each step": {},
    "captions encoded once": {"text_cache": 1},
}
_TRAIN: dict[str, Any] = {
    "batch_size": BATCH,
    "optimizer": "adamw",
    "learning_rate": RATE,
    "learning_rate_schedule": {"name": "constant"},
    "warmup_steps": 0,
    "loss_weight": {"name": "min_snr", "gamma": 5.0, "learned": None},
    "ema_decay": 0.9999,
    "preview_every": 0,
    "checkpoint_every": 10**6,
    "validation": {"every": 0, "images": 24, "levels": 2},
}


def timed(command: Sequence[str], folder: Path, **variables: str) -> tuple[float, float]:
    """CPU seconds of a command with all that it starts, and wall seconds."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # of stages' `python`
    begun = time.monotonic()
    with (folder / "bench.log").open("ab") as log:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env={**os.environ, "PATH": path, **variables},
            stdout=log,
            stderr=log,
        )
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit((folder / "bench.log").read_text(errors="replace")[-4000:])
    return used.ru_utime + used.ru_stime, time.monotonic() - begun


def prepare(folder: Path) -> tuple[Path, Path]:
    """Pictures that nothing is wrong with, and the tiny base."""
    clone, sample, pictures = folder / "base", folder / "sample", folder / "pictures"
    nadir = str(Path(sys.executable).with_name("nadir"))
    subprocess.run([nadir, "sample-data", str(sample), "--images", "900"], check=True)
    _clone(clone, sample, {}, None)
    timed(_dvc("base_model", "validate"), clone)
    rows = pq.read_table(clone / "data/manifest.parquet", columns=["path"])["path"].to_pylist()
    good = sorted(rows)[:PICTURES]
    imagefolder = folder / "imagefolder"
    for place in (pictures, imagefolder):
        place.mkdir()
    lines = []
    for name in good:
        path = sample / name
        tags = path.with_suffix(".txt")
        shutil.copy(path, imagefolder)
        for file in (path, tags):
            shutil.copy(file, pictures)
        lines.append(json.dumps({"file_name": path.name, "text": tags.read_text("utf-8").strip()}))
    (imagefolder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copytree(clone / "models/base", folder / "model")
    return pictures, imagefolder


def _clone(clone: Path, pictures: Path, train: dict[str, Any], base: Path | None) -> None:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    path = clone / "params.yaml"
    tree = _YAML.load(path)
    tree["ingest"]["source"] = str(pictures)
    tree["validate"]["holdout_share"] = 0.0 if base else tree["validate"]["holdout_share"]
    tree["train"] |= _TRAIN | train
    if base:
        tree["base_model"]["source"] = str(base)
    _YAML.dump(tree, path)


def _dvc(*stages: str) -> list[str]:
    return [str(Path(sys.executable).with_name("dvc")), "repro", "--quiet", *stages]


def ours(folder: Path, pictures: Path, settings: dict[str, Any]) -> dict[str, float]:
    """All stages in a fresh clone, then the training alone with few and with more steps."""
    clone = folder / "clone"
    _clone(clone, pictures, {"steps": STEPS} | settings, folder / "model")
    whole, wall = timed(_dvc("train"), clone)
    spent = {}
    for steps in (STEPS, MORE):
        tree = _YAML.load(clone / "params.yaml")
        tree["train"] |= {"steps": steps, "seed": 1}
        _YAML.dump(tree, clone / "params.yaml")
        spent[steps], _ = timed(_dvc("train"), clone)
    shutil.rmtree(clone)
    return _measured(whole, wall, spent[STEPS], spent[MORE])


def theirs(folder: Path, imagefolder: Path, python: str, script: Path) -> dict[str, float]:
    """The script from pictures to weights, with few and with more steps."""
    spent = {}
    for steps in (STEPS, MORE):
        work = folder / f"script-{steps}"
        work.mkdir()
        words = ["--pretrained_model_name_or_path", str(folder / "model")]
        words += ["--train_data_dir", str(imagefolder), "--caption_column", "text"]
        words += ["--resolution", "64", "--train_batch_size", str(BATCH)]
        words += ["--max_train_steps", str(steps), "--learning_rate", str(RATE)]
        words += ["--lr_scheduler", "constant", "--lr_warmup_steps", "0", "--snr_gamma", "5"]
        words += ["--prediction_type", "v_prediction", "--use_ema", "--mixed_precision", "no"]
        words += ["--checkpointing_steps", str(10**6), "--seed", "0", "--output_dir", "out"]
        home = {"HF_HOME": str(work / "hf"), "HF_HUB_OFFLINE": "1"}
        spent[steps] = timed([python, "-c", _RUN, str(script), *words], work, **home)
        shutil.rmtree(work)
    return _measured(*spent[STEPS], spent[STEPS][0], spent[MORE][0])


def _measured(whole: float, wall: float, few: float, more: float) -> dict[str, float]:
    return {"whole": whole, "wall": wall, "step": (more - few) / (MORE - STEPS) * 1000}


def record(rounds: list[dict[str, dict[str, float]]], script: Path) -> None:
    """Write the section of docs/performance.md."""
    found = re.search(r'check_min_version\("([^"]+)"\)', script.read_text("utf-8"))
    rows = []
    for name in rounds[0]:
        middle = {
            key: statistics.median(each[name][key] for each in rounds) for key in rounds[0][name]
        }
        ratios = {
            key: statistics.median(each[name][key] / each["script"][key] for each in rounds)
            for key in middle
        }
        cells = [f"{middle[k]:.1f}" for k in ("whole", "wall")] + [f"{middle['step']:.0f}"]
        cells += [f"{ratios[k]:.2f}" for k in ("whole", "wall", "step")]
        rows.append(["diffusers' script" if name == "script" else f"Nadir, {name}", *cells])
    head = ["800 pictures, 150 steps", "CPU s", "wall s", "CPU ms a step"]
    head += ["CPU : script", "wall : script", "step : script"]
    body = (__doc__ or "").split("\n\n")[-1].strip()
    body += (
        f"\n\nThe script of diffusers {found[1] if found else '?'}; rounds: {len(rounds)}, "
        "in turns, the middle of each; ratios are within a round.\n\n"
    )
    write("Beside diffusers' script", body + table(head, rows))


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", type=Path, help="train_text_to_image_sdxl.py")
    parser.add_argument("--python", default=sys.executable, help="has what the script imports")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if asked.script is None or not asked.script.is_file():
        print("skipped: --script names no file; it is in diffusers' repository, see --help")
        return
    rounds = []
    with tempfile.TemporaryDirectory(prefix="nadir-bench-") as place:
        folder = Path(place)
        pictures, imagefolder = prepare(folder)
        for number in range(asked.rounds):
            seen = {"script": theirs(folder, imagefolder, asked.python, asked.script.resolve())}
            seen |= {name: ours(folder, pictures, settings) for name, settings in OURS.items()}
            rounds.append(seen)
            print(number + 1, json.dumps(seen), flush=True)
    record(rounds, asked.script)


if __name__ == "__main__":
    main()
