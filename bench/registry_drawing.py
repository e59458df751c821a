"""Drawing through the registry beside the bare pipeline: the same weights, steps and pictures.

A copy of a checkpoint is registered in a store of its own and loaded by
`mlflow.pyfunc.load_model`; beside it the same folder is drawn from by diffusers' pipeline with the
same sampler, nothing of ours around it. Both turn a prompt into a PNG in base64. They take turns
in one process, so what else the machine does falls on both; what counts is processor time. The
smaller the network, the more everything around it weighs: the tiny model is the worst case.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from bench.performance import PAGE
from bench.results import ROOT, table, write_section

from nadir.config.base_model import BaseModelParams
from nadir.config.noise import NoiseParams
from nadir.config.reader import read_section
from nadir.ground import artifacts
from nadir.model.load import LatentScaling, load_pipeline, save_checkpoint
from nadir.model.sdxl.networks import load_unet
from nadir.model.tiny.networks import make_tiny
from nadir.tracking.lineage import FINGERPRINT_TAG, OUTPUT_TAG
from nadir.tracking.store.connection import connect, experiment_id, tracking_uri
from nadir.tracking.version_files.making import make_logged_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusers import StableDiffusionXLPipeline

PAIRS = 24
STEPS = 28
PROMPT = "1girl, red_hair, black_background"


def register(root: Path) -> None:
    """A project's folder with an untrained tiny SDXL, registered as version 1, which is live."""
    params = root / "params.yaml"
    shutil.copy(ROOT / "presets/tiny.yaml", params)
    params.write_text(params.read_text().replace("weights: auto", "weights: copy"))
    tiny = read_section("base_model", BaseModelParams, params).tiny
    make_tiny(root / "base", tiny.model_copy(update={"vae_steps": 1}))
    checkpoint = root / artifacts.CHECKPOINT
    save_checkpoint(
        checkpoint,
        base=root / "base",
        unet=load_unet(root / "base"),
        noise=read_section("noise", NoiseParams, params).model_dump(),
        scaling=LatentScaling("sdxl"),
        training={},
    )
    client = connect(root)
    run = client.create_run(experiment_id(client, root))
    tags = {OUTPUT_TAG: "0" * 32, FINGERPRINT_TAG: "0"}
    client.create_registered_model("nadir")
    model, held = make_logged_model(client, "nadir", run.info.run_id, tags, root)
    client.create_model_version("nadir", model.artifact_location, run.info.run_id, tags=held)
    client.set_registered_model_alias("nadir", "champion", "1")


def bare(pipeline: StableDiffusionXLPipeline, seed: int, prompt: str) -> str:
    """A picture of diffusers' own pipeline."""
    generator = torch.Generator().manual_seed(seed)
    image = pipeline(
        prompt=prompt,
        negative_prompt="",
        num_inference_steps=STEPS,
        guidance_scale=4.5,
        generator=generator,
    ).images[0]
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def main() -> None:
    """Measure and write the section of docs/performance.md."""
    import mlflow.pyfunc

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        register(root)
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri(root)
        served: Any = mlflow.pyfunc.load_model("models:/nadir@champion")
        pipeline = load_pipeline(root / artifacts.CHECKPOINT)

        def bare_new(seed: int) -> str:
            return bare(pipeline, seed, f"{PROMPT}, {seed}")

        def bare_same(seed: int) -> str:
            return bare(pipeline, seed, PROMPT)

        rows = [
            row("registry, new prompts", *measured(bare_new, by_registry(served, new=True))),
            row("registry, one prompt", *measured(bare_same, by_registry(served, new=False))),
            row("bare again", *measured(bare_same, bare_same)),
        ]
    head = ["beside the bare pipeline", "bare, ms", "it, ms", "ratio, median", "ratio of sums"]
    write_section(PAGE, "# Performance\n", "Drawing through the registry", BODY + table(head, rows))


def by_registry(served: Any, *, new: bool) -> Callable[[int], str]:
    """How a loaded version is asked."""

    def draw(seed: int) -> str:
        prompt = f"{PROMPT}, {seed}" if new else PROMPT
        asked = {"prompt": prompt, "seed": seed, "steps": STEPS}
        (picture,) = served.predict([asked])
        return str(picture)

    return draw


def measured(
    first: Callable[[int], str], second: Callable[[int], str]
) -> tuple[list[float], list[float]]:
    """Seconds of processor time of each call of both, in turns, the order changing."""
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(PAIRS + 2):
        order = [(first, took[0]), (second, took[1])]
        for draw, seconds in order if number % 2 else order[::-1]:
            start = time.process_time()
            draw(number)
            seconds.append(time.process_time() - start)
    return took[0][2:], took[1][2:]  # the first warm caches


def row(name: str, base: list[float], other: list[float]) -> list[str]:
    """Medians, and ratios of the pairs and of the sums."""
    ratios = [b / a for a, b in zip(base, other, strict=True)]
    return [
        name,
        f"{1000 * statistics.median(base):.0f}",
        f"{1000 * statistics.median(other):.0f}",
        f"{statistics.median(ratios):.3f}",
        f"{sum(other) / sum(base):.3f}",
    ]


BODY = f"""{PAIRS} pairs of pictures of the tiny preset's own size (64 pixels), {STEPS} steps, CFG
4.5, in turns in one process; processor time. The bare pipeline is diffusers' with the same
sampler; the other is `mlflow.pyfunc.load_model("models:/nadir@champion").predict`, with its checks
of the request. Both end with a PNG in base64. Loading is not counted. A version encodes a prompt
once and the empty one once, diffusers both each time. `bare again` is the bare pipeline beside
itself: what the measurement alone does. Larger networks come nearer to 1, for the work around them
stays the same.

"""


if __name__ == "__main__":
    main()
