"""The 23 claims, in our own words, with what is measured for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.reproduction.arms import (
    CANVAS_SIGMAS,
    DECODER,
    EPSILON,
    MAIN,
    MIN_SNR_FORMS,
    NOISY,
    SAMPLER_STEPS,
    SAMPLERS,
    SCALAR,
    SCRATCH,
    START_SIGMAS,
    UNWEIGHTED,
    UPTRAINED,
    USUAL,
    V_STOCK,
    canvas_measure,
    sampler_measure,
    start_measure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STARTS = tuple(start_measure(sigma) for sigma in START_SIGMAS)
_SAMPLERS = tuple(sampler_measure(name, steps) for name in SAMPLERS for steps in SAMPLER_STEPS)
_CANVASES = tuple(canvas_measure(factor, sigma) for factor in (1, 2) for sigma in CANVAS_SIGMAS)


@dataclass(frozen=True)
class Claim:
    """One row of the table.

    Attributes:
        number: Of the claim; a claim may be measured in two ways.
        name: What `--claims` takes.
        text: The claim.
        source: `effects`, `calculations` or `computations`, and the function there.
        measured: What the value is: above 0 where the claim holds.
        least: The smallest value that would matter; 0 where any counts.
        needs: Measures by arm; a parent is trained as well.
        figure: Of the function in `figures`; empty for none.
        exact: Whether it is a calculation that chance has no part in.
    """

    number: int
    name: str
    text: str
    source: str
    measured: str
    least: float = 0.0
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    figure: str = ""
    exact: bool = False


CLAIMS: tuple[Claim, ...] = (
    Claim(
        6, "ladder", "Trained to pure noise, a model draws black as black and white as white",
        "effects.ladder",
        "ladder error: epsilon on the stock schedule less v with zero terminal SNR", 0.05,
        {MAIN: (USUAL,), EPSILON: (USUAL,), V_STOCK: (USUAL,)}, "ladder",
    ),
    Claim(
        6, "ladder_same_target", "The same between two v-models: the schedule does it, not v",
        "effects.same_target",
        "ladder error: v on the stock schedule less v with zero terminal SNR", 0.05,
        {MAIN: (USUAL,), V_STOCK: (USUAL,)},
    ),
    Claim(
        6, "start", "The same weights, begun at SDXL's last sigma instead of infinity, draw grey",
        "effects.start", "ladder error: from sigma 14.6 less from infinity", 0.05,
        {MAIN: _STARTS}, "start",
    ),
    Claim(
        13, "min_snr", "How min-SNR treats the last step decides whether it is learnt at all",
        "effects.literal_weight",
        "ladder error: min(SNR, 5)/(SNR + 1) to the letter less min(SNR + 1, 5)/(SNR + 1)", 0.02,
        {MAIN: (USUAL,), **{f"weight_{name}": (USUAL,) for name in MIN_SNR_FORMS}}, "min_snr",
    ),
    Claim(
        10, "first_step", "The first step from infinity has an exact limit, equal in all samplers",
        "calculations.exact_first_step",
        "orders of magnitude inside 1e-5: Euler, DDIM, DPM++ 2M against the limit", exact=True,
    ),
    Claim(
        10, "samplers", "At one CFG scale, samplers and step counts draw the same brightness",
        "effects.samplers_agree",
        "0.05 less the spread of the ladder error over three samplers at 10 and 25 steps", 0.0,
        {MAIN: _SAMPLERS}, "samplers",
    ),
    Claim(
        18, "tag_weighting", "Weighting samples by their tags lifts rare concepts",
        "effects.rare_tags",
        "recall of the four rarest colours: weighted less unweighted", 0.05,
        {MAIN: (USUAL,), UNWEIGHTED: (USUAL,)}, "tag_weighting",
    ),
    Claim(
        15, "buckets", "Buckets keep more of a picture than square crops",
        "computations.retained_area",
        "share of the picture kept: bucket less square, by picture", 0.05, {}, "buckets",
    ),
    Claim(
        15, "bucket_time", "Buckets cost less time than padding to one square",
        "computations.saved_time", "share of a step's CPU time saved", 0.1, {}, "bucket_cost",
    ),
    Claim(
        15, "bucket_memory", "Buckets take less memory than padding to one square",
        "computations.saved_memory", "share of the bytes kept for backward that is saved", 0.1,
    ),
    Claim(
        21, "latents", "Statistics of each latent channel train at least as well as one factor",
        "effects.channel_scaling",
        "held-out x0 error: one factor less statistics by channel", 0.01,
        {MAIN: (USUAL,), SCALAR: (USUAL,)}, "latents",
    ),
    Claim(
        14, "uptraining", "From an epsilon model, v with zero terminal SNR is learnt in few steps",
        "effects.uptraining", "ladder error after as few steps: from scratch less uptrained", 0.02,
        {UPTRAINED: (USUAL,), SCRATCH: (USUAL,), MAIN: (USUAL,)}, "uptraining",
    ),
    Claim(
        20, "cfg", "Cleaner tags want a lower CFG scale",
        "effects.clean_tags", "best CFG scale: three tags of ten wrong less clean", 0.5,
        {MAIN: ("cfg",), NOISY: ("cfg",)}, "cfg",
    ),
    Claim(
        11, "canvas", "A canvas twice as long wants twice the first sigma",
        "effects.larger_canvas",
        "ladder error on twice the side: from sigma 14.6 less from 29.2", 0.01,
        {MAIN: _CANVASES}, "canvas",
    ),
    Claim(
        1, "identities", "v lies between epsilon and x0, and neither end of it is trivial",
        "calculations.identities",
        "orders of magnitude inside 1e-9: |v - v'|² = (1 + SNR) |x0 - x0'|²", exact=True,
    ),
    Claim(
        2, "infinity", "Pure noise can be learnt from with v, not with epsilon",
        "calculations.defined_at_infinity",
        "share of finite guesses of x0 at SNR 0: from v less from epsilon", exact=True,
    ),
    Claim(
        3, "convergence", "v converges faster than epsilon",
        "effects.convergence", "held-out x0 error on the stock schedule: epsilon less v", 0.01,
        {EPSILON: (USUAL,), V_STOCK: (USUAL,)},
    ),
    Claim(
        4, "visible_mean", "At SDXL's last step the mean colour is still to be seen",
        "calculations.visible_mean",
        "0.02 less the relative error of √L as the correlation of true and noised mean",
    ),
    Claim(
        5, "schedule", "The rescaled schedule ends in no signal and keeps its beginning",
        "calculations.schedule_table", "orders of magnitude inside 1e-5: seven table values",
        exact=True,
    ),
    Claim(
        7, "leak", "Without a step of pure noise, the noise's mean leaks into the picture",
        "effects.leak", "mean leak: v on the stock schedule less zero terminal SNR", 0.1,
        {MAIN: (USUAL,), V_STOCK: (USUAL,)},
    ),
    Claim(
        8, "first_guess", "From pure noise the model at once proposes the prompt's mean colour",
        "effects.canvas_guess",
        "slope of the first guess's luminance: zero terminal SNR less stock schedule", 0.1,
        {MAIN: (USUAL,), V_STOCK: (USUAL,)},
    ),
    Claim(
        9, "enough_sigma", "A sigma of 136 to 317 is as good as infinity",
        "effects.enough_sigma",
        "0.02 less the difference in ladder error between sigma 136 and infinity", 0.0,
        {MAIN: _STARTS},
    ),
    Claim(
        12, "printed", "The noise levels of two example schedules follow from 28 native steps",
        "calculations.printed_sigmas", "0.05 less the distance of each of ten printed sigmas",
        exact=True,
    ),
    Claim(
        16, "epochs", "Every picture of a bucket is shown equally often",
        "computations.even_visits", "2 less the spread of visit counts, by bucket", exact=True,
    ),
    Claim(
        17, "long_prompts", "Prompts beyond 75 tokens still reach the model",
        "computations.long_prompts",
        "change of the text states by a tag in the third chunk, less that with one chunk",
    ),
    Claim(
        19, "decoder", "Fine-tuning the decoder alone removes traces of JPEG",
        "effects.decoder_grid",
        "distance of the blockiness of decoded pictures from their originals': before less after",
        0.05, {DECODER: (DECODER,)}, "decoder",
    ),
    Claim(
        19, "decoder_control", "Clean pictures do it, not the further steps",
        "effects.decoder_control",
        "the same distance: after as many steps more of JPEG less after clean pictures",
        0.05, {DECODER: (DECODER,)},
    ),
    Claim(
        22, "leak_formula", "The share of the mean that is trusted follows τ²/(τ² + σ²/N)",
        "calculations.leak_formula", "0.01 less the error of L against simulated canvases",
    ),
    Claim(
        23, "precision", "Single precision is the stable choice at both ends of the schedule",
        "calculations.precision",
        "orders of magnitude between the errors of bfloat16 and float32",
    ),
)  # fmt: skip


def chosen(names: Sequence[str] | None) -> list[Claim]:
    """The claims that a user names, by name or number; all without names.

    Raises:
        NadirError: A name is none.
    """
    if names is None:
        return list(CLAIMS)
    known = {claim.name for claim in CLAIMS} | {str(claim.number) for claim in CLAIMS}
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise NadirError(
            f"no claim is called {', '.join(wrong) or 'nothing'}",
            where="--claims",
            fix=f"name some of {', '.join(claim.name for claim in CLAIMS)}, or numbers 1 to 23",
        )
    return [claim for claim in CLAIMS if claim.name in names or str(claim.number) in names]
