"""An evaluation beside a bare loop that draws the same pictures: processor time, in turn.

In a project that has been run (`--project`, this one by default). Both loops call diffusers'
pipeline on each batch with the evaluation's sampler, noise and sizes, make PIL pictures and
measure nothing; a script gives it prompts, the bare loop encodes each prompt once. The evaluation
draws them, measures all that the parameters ask for, and has the held-out errors besides. No time
includes imports, loading the checkpoint or reading the dataset. Then the newest version is judged
beside the champion by what is kept of both. Writes "Evaluation" of docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bench.performance import write
from bench.results import ROOT, table

from nadir.config.evaluate import EvaluateParams
from nadir.config.reader import read_section
from nadir.evaluation.evaluator import Evaluation, evaluate
from nadir.ground import artifacts
from nadir.pipeline.judging import judge
from nadir.sampling.generate import start_noise
from nadir.sampling.kept_latents import KeptLatents
from nadir.stages.evaluate import subject_of
from nadir.tracking.registry.all_versions import registered_versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from nadir.evaluation.subject import Subject

Key = tuple[float, str, int]


def script(subject: Subject) -> dict[Key, Image.Image]:
    """The evaluation's pictures, by (scale, prompt, seed), as a script draws them: by prompts."""

    def texts(batch: list[Any]) -> dict[str, Any]:
        written = subject.encodings.written
        return {
            "prompt": [written(prompt.text) for prompt, _ in batch],
            "negative_prompt": [written("")] * len(batch),
        }

    return _drawn(subject, texts)


def bare(subject: Subject) -> dict[Key, Image.Image]:
    """The same by a careful script, which encodes each prompt once."""

    def texts(batch: list[Any]) -> dict[str, Any]:
        hidden, pooled = subject.encodings.get([prompt.text for prompt, _ in batch])
        empty, empty_pooled = subject.encodings.get([""] * len(batch))
        return {
            "prompt_embeds": hidden,
            "pooled_prompt_embeds": pooled,
            "negative_prompt_embeds": empty,
            "negative_pooled_prompt_embeds": empty_pooled,
        }

    return _drawn(subject, texts)


def _drawn(
    subject: Subject, texts: Callable[[list[Any]], dict[str, Any]]
) -> dict[Key, Image.Image]:
    plan, drawn = subject.plan, {}
    for scale in plan.cfg_scales:
        for size, prompts in plan.by_size(scale).items():
            asked = [(prompt, seed) for prompt in prompts for seed in prompt.seeds]
            for start in range(0, len(asked), subject.params.batch_size):
                batch = asked[start : start + subject.params.batch_size]
                pictures = _pictures(subject, batch, scale, size, texts(batch))
                drawn.update(
                    {(scale, p.id, s): one for (p, s), one in zip(batch, pictures, strict=True)}
                )
    return drawn


def _pictures(
    subject: Subject,
    batch: list[Any],
    scale: float,
    size: tuple[int, int],
    texts: dict[str, Any],
) -> list[Image.Image]:
    pipeline, plan = subject.pipeline, subject.plan
    factor = pipeline.vae_scale_factor
    shape = (pipeline.unet.config.in_channels, size[1] // factor, size[0] // factor)
    claimed = (plan.original_size or size)[::-1]
    found: list[Image.Image] = pipeline(
        **texts,
        latents=torch.stack([start_noise(prompt.text, seed, shape) for prompt, seed in batch]),
        width=size[0],
        height=size[1],
        original_size=claimed,
        target_size=size[::-1],
        num_inference_steps=plan.steps,
        guidance_scale=scale,
        guidance_rescale=plan.guidance_rescale,
    ).images
    return found


def timed(function: Any, *arguments: Any) -> tuple[float, Any]:
    """Processor seconds of this process, and the result."""
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def evaluated(subject: Subject) -> Evaluation:
    """The whole evaluation, latents kept for a kill as the stage keeps them."""
    with tempfile.TemporaryDirectory() as folder:
        return evaluate(subject, advance=lambda _: None, kept=KeptLatents(Path(folder) / "kept"))


def judged(root: Path) -> float | None:
    """Processor seconds of judging the newest version; None where there is one alone."""
    versions = sorted(int(one.version) for one in registered_versions(root))
    if len(versions) < 2:
        return None
    return timed(lambda: judge(f"models:/nadir/{versions[-1]}", root, say=lambda _: None))[0]


def largest_difference(one: dict[Key, Image.Image], other: dict[Key, Image.Image]) -> int:
    """Of all pixels, in levels of 255."""
    return max(
        int(np.abs(np.asarray(one[key], int) - np.asarray(other[key], int)).max()) for key in one
    )


def main() -> None:
    """Measure, print and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=ROOT, help="one that has been run")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.chdir(options.project)
    torch.set_num_threads(1)
    params = read_section("evaluate", EvaluateParams)
    rounds, apart = [], 0
    for _ in range(options.rounds):
        times, results = {}, {}
        for name, draw in LOOPS.items():
            times[name], results[name] = timed(draw, subject_of(artifacts.CHECKPOINT, params))
        evaluation = results.pop("evaluation")
        gaps = (largest_difference(one, evaluation.pictures) for one in results.values())
        apart = max(apart, *gaps)
        rounds.append(times | {"judging": judged(options.project.resolve())})
    write("Evaluation", _said(rounds, evaluation.plan.images, apart))


LOOPS: dict[str, Callable[[Subject], Any]] = {
    "script": script,
    "bare loop": bare,
    "evaluation": evaluated,
}


def _said(rounds: list[dict[str, Any]], pictures: int, apart: int) -> str:
    rows = []
    for name in LOOPS:
        shares = sorted(one[name] / one["evaluation"] for one in rounds)
        ratio = f"{statistics.median(shares):.3f} ({shares[0]:.3f} to {shares[-1]:.3f})"
        rows.append([name, f"{statistics.median(one[name] for one in rounds):.1f}", ratio])
    text = (
        f"{pictures} pictures, rounds in turn: {len(rounds)} (medians), one thread; the pictures "
        f"of all differ by {apart} of 255 levels at most. "
    )
    if rounds[0]["judging"] is None:
        text += "One version alone has nobody to be judged beside."
    else:
        more = statistics.median(1 + one["judging"] / one["evaluation"] for one in rounds)
        judging = statistics.median(one["judging"] for one in rounds)
        text += (
            f"Judging beside the champion by what is kept of both takes {judging:.1f} s: with it, "
            f"an evaluation costs {more:.3f} of itself."
        )
    return f"{text}\n\n{table(['what', 'processor, s', 'beside the evaluation'], rows)}"


if __name__ == "__main__":
    main()
