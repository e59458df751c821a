"""The real SDXL's size on a CPU: two whole training steps from the presets for small cards.

Random weights in the real shapes; 2.57 billion of them in the U-Net. Each preset makes two steps at
512 x 512 pixels, batch 1, with an exact save after the first; another process makes the second
again from that save, and all of weights, average and optimizer must be equal to the bit.

    python -m bench.full_size FOLDER     # 20 GB of disk; the base stays for the next time
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from bench.performance import write
from bench.results import ROOT, table
from ruamel.yaml import YAML

from nadir.config.base_model import BaseModelParams
from nadir.config.reader import read_section
from nadir.config.tag_statistics import TagStatisticsParams
from nadir.config.train import TrainParams
from nadir.data.latents.store import LatentStore
from nadir.data.tables import LATENT_INDEX, MANIFEST, TAGS, write_table
from nadir.data.tags.weights import tag_statistics
from nadir.ground.workspace import PARAMS_FILE
from nadir.training.launcher import library_settings

GIB = 1 << 30
PRESETS = ("sdxl_12gb", "sdxl_lora_8gb")
SIDE_PX, IMAGES = 512, 8
_MAY_LACK = {"rating", "flip_key", "flip_shard"}
_TAGS = ("1girl", "red_hair", "blue_hair", "smile")
# What the presets hold for a batch that a 1024 px canvas fills, and what a CPU cannot wait for.
_SMALLER: dict[str, Any] = {
    "steps": 3,
    "warmup_steps": 1,
    "batch_size": 1,
    "gradient_accumulation": 1,
    "preview_every": 0,
}


def make_base(folder: Path) -> None:
    """An SDXL of random weights: U-Net and text encoders in bfloat16, VAE in float32."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from nadir.model.sdxl.networks import sdxl_configs
    from nadir.model.tiny.tokenizer import build_tokenizer

    configs = sdxl_configs()
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    torch.manual_seed(0)
    AutoencoderKL.from_config(configs["vae"]).save_pretrained(partial / "vae")
    torch.set_default_dtype(torch.bfloat16)
    for part, kind in (
        ("text_encoder", CLIPTextModel),
        ("text_encoder_2", CLIPTextModelWithProjection),
    ):
        kind(CLIPTextConfig(**configs[part])).save_pretrained(partial / part)
    UNet2DConditionModel.from_config(configs["unet"]).save_pretrained(partial / "unet")
    for part in ("tokenizer", "tokenizer_2"):
        build_tokenizer(_TAGS).save_pretrained(partial / part)
    partial.rename(folder)


def write_project(folder: Path, base: Path, preset: str) -> None:
    """What a training reads: eight pictures' latents, their tags, the preset's parameters."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "models").mkdir(parents=True)
    (folder / "models/base").symlink_to(base.resolve())
    (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    yaml = YAML()
    tree = yaml.load((ROOT / f"presets/{preset}.yaml").read_text(encoding="utf-8"))
    tree["train"] |= _SMALLER
    tree["train"]["validation"]["every"] = 0
    with (folder / PARAMS_FILE).open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
    _write_data(folder)


def _write_data(folder: Path) -> None:
    data = folder / "data"
    hashes = sorted(hashlib.sha256(bytes([number])).hexdigest() for number in range(IMAGES))
    tags = [
        [{"name": tag, "class": "general"} for tag in _TAGS[: 1 + number % len(_TAGS)]]
        for number in range(IMAGES)
    ]
    columns: dict[str, Any] = {"sha256": hashes, "tags": tags, "split": ["train"] * IMAGES}
    columns |= {"path": [f"{number}.png" for number in range(IMAGES)]}
    columns |= {"width": [SIDE_PX] * IMAGES, "height": [SIDE_PX] * IMAGES}
    write_table(_filled(columns, MANIFEST), data / "manifest.parquet", MANIFEST)
    params = read_section("tag_statistics", TagStatisticsParams, folder / PARAMS_FILE)
    found = tag_statistics(data / "manifest.parquet", params).tags
    write_table(found, data / "tags.parquet", TAGS)
    latents = torch.randn(IMAGES, 4, SIDE_PX // 8, SIDE_PX // 8)
    bucket = f"{SIDE_PX}x{SIDE_PX}"
    shard = LatentStore(data / "latents").write_shard(bucket, hashes, latents)
    index: dict[str, Any] = {"key": hashes, "sha256": hashes, "shard": [shard] * IMAGES}
    index |= {"row": list(range(IMAGES)), "bucket": [bucket] * IMAGES}
    sides = ("bucket_width", "bucket_height", "original_width", "original_height")
    index |= {side: [SIDE_PX] * IMAGES for side in sides}
    index |= {"crop_left": [0] * IMAGES, "crop_top": [0] * IMAGES}
    write_table(_filled(index, LATENT_INDEX), data / "latents/index.parquet", LATENT_INDEX)


def _filled(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    """A table of a schema; what is not given is empty or 0."""
    arrays = []
    for field in schema:
        known = columns.get(field.name)
        if known is None and pa.types.is_floating(field.type):
            known = np.zeros(IMAGES)
        elif known is None and pa.types.is_string(field.type):
            known = [None if field.name in _MAY_LACK else ""] * IMAGES
        arrays.append(
            pa.nulls(IMAGES, field.type) if known is None else pa.array(known, field.type)
        )
    return pa.Table.from_arrays(arrays, schema=schema)


def train(*, resume: bool) -> dict[str, Any]:
    """Two steps with a save between them, or the second from that save; peaks in bytes."""
    from nadir.training.check import snapshot_digests
    from nadir.training.main import make_accelerator, prepare_run
    from nadir.training.reports.reporter import NoReporter
    from nadir.training.state import CheckpointStore
    from nadir.training.stop_request import StopRequest
    from nadir.training.train_step import TrainStep
    from nadir.training.trainable import make_trainable

    params = read_section("train", TrainParams)
    accelerator = make_accelerator(params)
    run = prepare_run(Path("work"), "bench", params, accelerator, NoReporter())
    trainable = make_trainable(params, Path("models/base"), run.text)
    step = TrainStep(trainable, params, run.objective, accelerator)
    store = CheckpointStore(Path("work"), fingerprint="bench", keep=1, warn=print)
    facts: dict[str, Any] = {"loaded": peak()}
    for number in (1,) if resume else (0, 1):
        if resume:
            folder = store.latest()
            if folder is None:
                sys.exit("the save is not there")
            step.restore(store.load(folder))
            facts["restored"] = peak()
        begin = time.monotonic()
        result = step.step(number, run.loader.batch(number), StopRequest())
        facts[f"step_{number}"] = peak()
        facts[f"seconds_{number}"] = time.monotonic() - begin
        facts[f"loss_{number}"] = result.loss
        sys.stderr.write(f"{facts}\n")
        if number == 0:
            store.save(step.snapshot(1, {}))
            facts["saved"] = peak()
    digests = sorted(snapshot_digests(step.snapshot(2, {})).items())
    facts["digest"] = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    facts["tensors"] = len(digests)
    return facts


def peak() -> int:
    """Most memory of this process so far, libraries and mapped files included; bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(folder: Path, preset: str) -> dict[str, Any]:
    """One preset, in processes of its own; and what its plan says."""
    project = folder / preset
    write_project(project, folder / "base", preset)
    straight = _child(project)
    resumed = _child(project, "--resume")
    if straight["digest"] != resumed["digest"]:
        sys.exit(f"{preset}: the resumed step differs")
    return {"straight": straight, "resumed": resumed, "planned": _planned(project)}


def _child(project: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.full_size", "--child", *arguments, str(project)]
    os.chdir(project)
    environment = {**os.environ, **library_settings(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _planned(project: Path) -> int:
    from nadir.planning.hollow import configs_of
    from nadir.planning.memory import plan_memory

    params = project / PARAMS_FILE
    plan = plan_memory(
        configs_of(project / "models/base", read_section("base_model", BaseModelParams, params)),
        read_section("train", TrainParams, params),
        images=1,
        width=SIDE_PX,
        height=SIDE_PX,
    )
    return plan.device_bytes(libraries=False) + plan.host_bytes()


def report(found: dict[str, dict[str, Any]]) -> str:
    """The section of docs/performance.md."""
    head = [
        "preset",
        "loaded, GiB",
        "two steps and a save, GiB",
        "planned, GiB",
        "resume and a step, GiB",
        "equal after the resume",
        "a step, s",
    ]
    rows = [_row(preset, facts) for preset, facts in found.items()]
    return (
        f"torch {torch.__version__}; SDXL's shapes with random weights, {SIDE_PX} x {SIDE_PX}, "
        "batch 1. Peaks are of the whole process, Python, its libraries and mapped files "
        "included; planned is what `nadir plan` adds up for the same settings.\n\n"
        + table(head, rows)
    )


def _row(preset: str, facts: dict[str, Any]) -> list[str]:
    straight, resumed = facts["straight"], facts["resumed"]
    sizes = [straight["loaded"], straight["step_1"], facts["planned"], resumed["step_1"]]
    return [
        f"`presets/{preset}.yaml`",
        *(f"{size / GIB:.2f}" for size in sizes),
        f"{straight['tensors']:,} tensors and values",
        f"{straight['seconds_1']:.0f}",
    ]


def main() -> None:
    """Measure both presets and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    if options.child:
        os.chdir(options.folder)
        facts = train(resume=options.resume)
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").is_dir():
        make_base(folder / "base")
    found = {preset: measure(folder, preset) for preset in options.presets}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    write("The real size on a CPU", report(found))


if __name__ == "__main__":
    main()
