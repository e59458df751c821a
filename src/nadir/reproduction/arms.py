"""What is trained and drawn: the arms of the reproduction, each in one line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

USUAL = "usual"
"""The ladder, rare colours, held-out error and the first guess from pure noise."""
START_SIGMAS = (math.inf, 20000.0, 317.0, 136.0, 56.0, 29.0, 14.6)
SAMPLERS = ("euler", "dpmpp_2m", "heun")
SAMPLER_STEPS = (10, 25)
CFG_SCALES = (1.0, 2.0, 3.5, 5.0, 7.5, 10.0)
CANVAS_SIGMAS = (7.3, 14.6, 29.2, 58.5)
MIN_SNR_FORMS = ("none", "min_snr", "min_snr_snr0_one", "soft_min_snr")
MAIN, V_STOCK, EPSILON = "v_zero_terminal", "v_stock", "epsilon_stock"
UNWEIGHTED, SCALAR, NOISY = "tags_unweighted", "scalar_latents", "noisy_tags"
UPTRAINED, SCRATCH = "uptrained", "scratch_short"
DECODER = "decoder"
"""The arm without a U-Net, and its measure."""


@dataclass(frozen=True)
class Size:
    """How large everything is; the default takes about an hour of one core.

    Attributes:
        images: Pictures of the dataset.
        steps: Training steps of an arm.
        short_steps: Of the arms that compare uptraining with a start from scratch.
        batch: Pictures a step.
        side_px: Side of the square whose area the buckets have; latents have half of it.
        vae_steps: Training steps of the autoencoder.
        drawing_steps: Sampling steps.
        noises: Noises per prompt.
        decoder_steps: Of each training of the VAE's decoder.
    """

    images: int = 1000
    steps: int = 220
    short_steps: int = 70
    batch: int = 6
    side_px: int = 48
    vae_steps: int = 60
    drawing_steps: int = 10
    noises: int = 4
    decoder_steps: int = 400


@dataclass(frozen=True)
class Arm:
    """One training with what is measured of it.

    Attributes:
        name: In tables, caches and MLflow.
        title: In figures.
        settings: Changes of `params.yaml`, as `--set` takes them.
        dataset: `clean`, or `noisy` where three tags of ten name a wrong colour.
        measures: Names that `measuring` knows.
        short: Whether it makes `Size.short_steps` steps only.
        parent: Arm whose network it starts from; None starts from scratch.
        network: Whether a U-Net is trained; else the measure is all there is.
    """

    name: str
    title: str
    settings: tuple[str, ...] = ()
    dataset: str = "clean"
    measures: tuple[str, ...] = (USUAL,)
    short: bool = False
    parent: str | None = None
    network: bool = True

    def steps(self, size: Size) -> int:
        """Training steps."""
        return size.short_steps if self.short else size.steps


def start_measure(sigma: float) -> str:
    """Name of the measure that draws the ladder from a sigma."""
    return f"start_{sigma:g}"


def sampler_measure(sampler: str, steps: int) -> str:
    """Name of the measure that draws the ladder with a sampler."""
    return f"sampler_{sampler}_{steps}"


def canvas_measure(factor: int, sigma: float) -> str:
    """Name of the measure that draws a canvas `factor` times as long from a sigma."""
    return f"canvas_{factor}_{sigma:g}"


_STOCK = ("noise.zero_terminal_snr=false",)
_SWEEPS = (
    *(start_measure(sigma) for sigma in START_SIGMAS),
    *(sampler_measure(name, steps) for name in SAMPLERS for steps in SAMPLER_STEPS),
    "cfg",
    *(canvas_measure(factor, sigma) for factor in (1, 2) for sigma in CANVAS_SIGMAS),
)
_ARMS = (
    Arm(MAIN, "v, zero terminal SNR", measures=(USUAL, *_SWEEPS)),
    Arm(V_STOCK, "v, stock schedule", _STOCK),
    Arm(EPSILON, "epsilon, stock schedule", ("noise.prediction=epsilon", *_STOCK)),
    *(
        Arm(f"weight_{name}", f"loss weight {name}", (f"train.loss_weight.name={name}",))
        for name in MIN_SNR_FORMS
    ),
    Arm(UNWEIGHTED, "tags not weighted", ("train.tag_weighting=false",)),
    Arm(SCALAR, "one factor for all latents", ("train.latent_scaling=sdxl",)),
    Arm(UPTRAINED, "uptrained from epsilon", short=True, parent=EPSILON),
    Arm(SCRATCH, "from scratch, as few steps", short=True),
    Arm(NOISY, "three tags of ten wrong", dataset="noisy", measures=(USUAL, "cfg")),
    Arm(DECODER, "decoder fine-tuned", measures=(DECODER,), network=False),
)
ARMS = {arm.name: arm for arm in _ARMS}


@dataclass(frozen=True)
class Job:
    """One arm with one seed."""

    arm: Arm
    seed: int
    measures: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the job in logs, tasks and MLflow."""
        return f"{self.arm.name}-{self.seed}"


def jobs_of(needs: dict[str, tuple[str, ...]], seeds: Sequence[int]) -> list[Job]:
    """The jobs that claims need, parents first, all seeds of an arm together.

    Args:
        needs: Measures by arm, from the claims, in their order.
        seeds: Training seeds.
    """
    order: dict[str, tuple[str, ...]] = {}
    for name, measures in needs.items():
        parent = ARMS[name].parent
        if parent is not None:
            order.setdefault(parent, needs.get(parent, ()))
        order[name] = measures
    return [Job(ARMS[name], seed, order[name]) for name in order for seed in seeds]
