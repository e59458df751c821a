"""The protocol of an evaluation: which images are drawn, and the hash that makes two comparable."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nadir.ground.files import canonical_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nadir.config.evaluate import EvaluateParams

Kind = Literal["fixed", "holdout", "brightness", "ladder", "binding", "canvas"]

# Prompts with a picture to look at are drawn with this many seeds; brightness needs all of them.
GRID_SEEDS = 4
CANVAS_SEEDS = 2
# Raise when the way noise, images or metrics are computed changes: old ids then differ.
PROTOCOL_VERSION = 4
# How a checkpoint wants to be asked: its own, whatever it is compared with.
_OWN = ("noise", "token_chunks", "original_size")


@dataclass(frozen=True)
class EvalPrompt:
    """One prompt of the protocol.

    Attributes:
        id: Name in tables; stable, so two evaluations can be paired by it.
        text: What is asked for.
        kind: Where it is from: the parameters, a held-out caption, a brightness probe, a further
            level of brightness, two colours at once, or a brightness probe on another canvas.
        seeds: Noise seeds it is drawn with, the same at every scale.
        target: Luminance (0-1) a probe should have; None for the others.
        region: Where a probe is measured; None for the others.
        size: Width and height in pixels where they are not the plan's.
        colours: The two tags of a prompt of kind `binding`.
        only_at: The one guidance scale it is drawn at; None for all of the plan.
    """

    id: str
    text: str
    kind: Kind
    seeds: tuple[int, ...]
    target: float | None = None
    region: Literal["whole", "border"] | None = None
    size: tuple[int, int] | None = None
    colours: tuple[str, str] | None = None
    only_at: float | None = None

    def drawn_at(self, cfg_scale: float) -> bool:
        """Whether it is drawn at a scale of the plan."""
        return self.only_at is None or self.only_at == cfg_scale


@dataclass(frozen=True)
class EvalPlan:
    """Everything that shapes the images except the weights.

    Attributes:
        prompts: What is drawn.
        cfg_scales: Each prompt and seed is drawn at each of these from the same noise.
        guidance_rescale: phi of CFG rescale.
        sampler: Sampler's name.
        spacing: Timestep spacing.
        steps: Sampling steps.
        width_px: Width of the images.
        height_px: Height of the images.
        original_size: Width and height that micro-conditioning claims, in pixels.
        token_chunks: Chunks of 75 tokens per prompt.
        noise: The checkpoint's noise settings: schedule and prediction.
        loss_images: Held-out images whose error is measured, with the size of their latents.
        latent_std: Standard deviation of each raw latent channel in units of which errors are
            given, so that checkpoints with different latent scalings can be compared.
        metrics: Names of what is measured.
        networks: Hashes and thresholds of the networks that look at pictures.
    """

    prompts: tuple[EvalPrompt, ...]
    cfg_scales: tuple[float, ...]
    guidance_rescale: float
    sampler: str
    spacing: str
    steps: int
    width_px: int
    height_px: int
    original_size: tuple[int, int]
    token_chunks: int
    noise: Mapping[str, Any]
    loss_images: tuple[str, ...] = ()
    latent_std: tuple[float, ...] = ()
    metrics: tuple[str, ...] = ()
    networks: Mapping[str, Any] = field(default_factory=dict)

    @property
    def protocol_id(self) -> str:
        """16 hex digits; results with different ids must not be compared.

        Two checkpoints of other noise settings, prompt lengths or training sizes are drawn by one
        protocol: these belong to the weights.
        """
        shared = {key: value for key, value in asdict(self).items() if key not in _OWN}
        return canonical_hash({"version": PROTOCOL_VERSION, **shared})[:16]

    @property
    def images(self) -> int:
        """Number of images over all scales."""
        return sum(
            len(prompt.seeds)
            for scale in self.cfg_scales
            for prompt in self.prompts
            if prompt.drawn_at(scale)
        )

    def of_kind(self, *kinds: Kind) -> tuple[EvalPrompt, ...]:
        """The prompts of these kinds, in order."""
        return tuple(prompt for prompt in self.prompts if prompt.kind in kinds)

    def by_size(self, cfg_scale: float) -> dict[tuple[int, int], list[EvalPrompt]]:
        """The prompts that are drawn at a scale by width and height, in order."""
        groups: dict[tuple[int, int], list[EvalPrompt]] = {}
        for prompt in self.prompts:
            if prompt.drawn_at(cfg_scale):
                size = prompt.size or (self.width_px, self.height_px)
                groups.setdefault(size, []).append(prompt)
        return groups


def make_plan(
    params: EvaluateParams,
    *,
    holdout: Sequence[tuple[str, str]],
    noise: Mapping[str, Any],
    token_chunks: int,
    original_size: tuple[int, int] | None = None,
    loss_images: Sequence[str] = (),
    latent_std: Sequence[float] = (),
    metrics: Sequence[str] = (),
) -> EvalPlan:
    """Plan an evaluation.

    Args:
        params: Section `evaluate`.
        holdout: (id, caption) of held-out images; the first `params.holdout_prompts` are used.
        noise: The checkpoint's noise settings.
        token_chunks: Chunks per prompt that the checkpoint was trained with.
        original_size: Width and height of a typical training image; the canvas when None.
        loss_images: As in the plan.
        latent_std: As in the plan.
        metrics: As in the plan.
    """
    few = params.seeds[:GRID_SEEDS]
    fixed = [EvalPrompt(_fixed_id(text), text, "fixed", few) for text in params.prompts]
    drawn = [
        EvalPrompt(f"holdout_{name}", caption, "holdout", few)
        for name, caption in holdout[: params.holdout_prompts]
    ]
    probes = [
        EvalPrompt(probe.id, probe.prompt, "brightness", params.seeds, probe.target, probe.region)
        for probe in params.brightness
    ]
    return EvalPlan(
        prompts=(*fixed, *drawn, *probes, *_ladder(params), *_binding(params), *_canvases(params)),
        cfg_scales=params.cfg_scales,
        guidance_rescale=params.guidance_rescale,
        sampler=params.sampler,
        spacing=params.spacing,
        steps=params.steps,
        width_px=params.width_px,
        height_px=params.height_px,
        original_size=original_size or (params.width_px, params.height_px),
        token_chunks=token_chunks,
        noise=dict(noise),
        loss_images=tuple(loss_images),
        latent_std=tuple(latent_std),
        metrics=tuple(metrics),
        networks=_contents(params),
    )


def _contents(params: EvaluateParams) -> dict[str, Any]:
    """What the networks are, wherever they lie."""
    given = params.networks.model_dump(exclude_none=True)
    return {
        name: {key: value for key, value in one.items() if key == "threshold" or "sha256" in key}
        for name, one in given.items()
    }


def _ladder(params: EvaluateParams) -> list[EvalPrompt]:
    few = params.seeds[:GRID_SEEDS]
    return [
        EvalPrompt(
            probe.id, probe.prompt, "ladder", few, probe.target, probe.region,
            only_at=params.decision_cfg,
        )
        for probe in params.brightness_ladder
    ]  # fmt: skip


def _binding(params: EvaluateParams) -> list[EvalPrompt]:
    """Every pair of a tag of the first group and one of the second."""
    asked = params.colour_binding
    if asked is None:
        return []
    few = params.seeds[:GRID_SEEDS]
    return [
        EvalPrompt(
            f"{one}_and_{other}", f"{asked.prompt}, {one}, {other}", "binding", few,
            colours=(one, other), only_at=params.decision_cfg,
        )
        for one in asked.first
        for other in asked.second
    ]  # fmt: skip


def _canvases(params: EvaluateParams) -> list[EvalPrompt]:
    """The brightness probes on canvases of other shapes."""
    few = params.seeds[:CANVAS_SEEDS]
    return [
        EvalPrompt(
            f"{probe.id}_{width}x{height}", probe.prompt, "canvas", few, probe.target,
            probe.region, (width, height), only_at=params.decision_cfg,
        )
        for width, height in params.canvases
        for probe in params.brightness
    ]  # fmt: skip


def fixed_prompts(params: EvaluateParams) -> dict[str, str]:
    """The prompts of the parameters by id."""
    return {_fixed_id(text): text for text in params.prompts}


def _fixed_id(text: str) -> str:
    """An id from the text itself, so that reordering the list changes nothing."""
    return "prompt_" + canonical_hash(text)[:8]
