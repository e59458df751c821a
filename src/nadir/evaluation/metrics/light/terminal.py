"""The first guess from pure noise: what the terminal step knows, one network call per picture.

A model trained on zero terminal SNR proposes the average colours of the prompt at once and ignores
what the noise's mean happens to be; any other stays near the middle and follows that mean
(paper §2.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Metric
from nadir.evaluation.metrics.brightness import region_luminance
from nadir.evaluation.metrics.light.ladder import slope
from nadir.evaluation.report.sections import BRIGHTNESS
from nadir.evaluation.values import CheckpointValue, Row

if TYPE_CHECKING:
    from nadir.evaluation.subject import Subject

OFFSET = 0.05
"""Added to unit noise, both ways: about what the mean of a small canvas has by chance."""
_SEEDS = 2
_LEAK_PROMPTS = 4


class TerminalCanvas(Metric):
    """Does the first guess from pure noise have the brightness that was asked for.

    One network call per picture; ten pictures (5 levels, 2 seeds) tell 0 from 1.
    """

    name = "terminal_canvas"
    title = "First guess from noise"
    unit = "slope from asked to guessed luminance"
    direction = "higher"
    meaning = (
        "Slope from asked luminance to that of the clean image guessed from pure noise. With zero "
        "terminal SNR it is well above 0.5; without, near 0."
    )
    section = BRIGHTNESS

    def of_checkpoint(self, subject: Subject) -> CheckpointValue:
        """The slope over all levels, and the luminance of each guess as rows."""
        from nadir.evaluation.metrics.light.first_guess import first_guess
        from nadir.sampling.decode import decode, pixel_array

        probes = subject.plan.of_kind("brightness", "ladder")
        requests = [(probe, seed) for probe in probes for seed in probe.seeds[:_SEEDS]]
        guesses_NCHW = first_guess(subject, requests)
        if guesses_NCHW is None:
            return CheckpointValue()
        pixels_NCHW = decode(subject.pipeline, guesses_NCHW)
        measured = [
            float(region_luminance(pixel_array(pixels)[None], probe.region or "whole")[0])
            for (probe, _), pixels in zip(requests, pixels_NCHW, strict=True)
        ]
        asked_N = np.array([probe.target or 0.0 for probe, _ in requests])
        rows = tuple(
            Row(None, probe.id, seed, self.name, value)
            for (probe, seed), value in zip(requests, measured, strict=True)
        )
        return CheckpointValue(slope(asked_N, np.array(measured)), rows)


class MeanLeak(Metric):
    """Does the mean of the starting noise pass into the picture.

    Paired over one noise, so four prompts are enough. A finite terminal sigma leaks σL, with
    L = τ²/(τ² + σ²/N) for canvas means of spread τ and N latent pixels: 3.4 for SDXL's own schedule
    on the tiny canvas. The tiny model of zero terminal SNR has 0.8, so it does not ignore the mean.
    """

    name = "mean_leak"
    title = "Mean leak"
    unit = "latent mean per unit of the noise's mean"
    direction = "zero"
    meaning = (
        "How much the mean of the first guess moves with the mean of the starting noise. 0 ignores "
        "it; the more it moves, the more the noise and not the prompt decides how bright it is."
    )
    section = BRIGHTNESS

    def of_checkpoint(self, subject: Subject) -> CheckpointValue:
        """Difference of the guesses' means over that of the noises', mean over prompts."""
        from nadir.evaluation.metrics.light.first_guess import first_guess

        requests = [(prompt, prompt.seeds[0]) for prompt in subject.plan.prompts[:_LEAK_PROMPTS]]
        high, low = (first_guess(subject, requests, offset=sign * OFFSET) for sign in (1, -1))
        if high is None or low is None:
            return CheckpointValue()
        leaks = ((high - low).mean(dim=(1, 2, 3)) / (2 * OFFSET)).tolist()
        rows = tuple(
            Row(None, prompt.id, seed, self.name, leak)
            for (prompt, seed), leak in zip(requests, leaks, strict=True)
            if np.isfinite(leak)
        )
        return CheckpointValue(float(np.mean(leaks)), rows)
