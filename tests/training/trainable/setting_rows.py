"""For every setting of `train` trainings that must differ, and in what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.training.trainable.adapter_cases import RATES
from tests.training.trainable.test_settings import LORA

from nadir.config.optimizers import OPTIMIZERS

STEPS = 3
BASE: dict[str, Any] = {
    "steps": STEPS,
    "batch_size": 4,
    "warmup_steps": 0,
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "learning_rate_schedule": {"name": "constant"},
    "ema_decay": 0.0,
    "preview_every": 0,
    "checkpoint_every": 100,
    "validation": {"every": 0, "images": 6, "levels": 1},
}
UNIFORM = {"distribution": "uniform", "min": 0.0, "max": 1.0, "shift": None}
LOGIT_NORMAL = UNIFORM | {"distribution": "logit_normal", "mean": 0.0, "std": 1.0}
BETA = UNIFORM | {"distribution": "beta", "alpha": 2.0, "beta": 1.0}
HUBER = {"kind": "huber", "delta": 0.1, "schedule": "snr"}
WEIGHT = {"name": "snr_plus_one", "gamma": 5.0, "learned": None}
LEARNED = WEIGHT | {"learned": {"channels": 32, "learning_rate": 0.1}}
ORDER = ["people", "character", "copyright", "artist", "general", "other", "meta"]
FORMS = {"tags": 1.0, "sentence": 0.0, "tags_sentence": 0.0, "sentence_tags": 0.0}
CAPTION = {
    "drop_all": 0.0,
    "drop_tag": 0.0,
    "drop_class": {},
    "protected": [],
    "shuffle": False,
    "order": ORDER,
    "keep_first": 0,
    "forms": FORMS,
    "quality": {},
    "prefix": "",
    "suffix": "",
    "underscores": "keep",
    "token_chunks": 1,
}
BF16 = {"mixed_precision": "bf16", "weights": "bf16"}
PROMPT = ["1girl, red_hair"]
LOOK = {"every": 1, "images": 6, "levels": 1}
DRAW = {"preview_every": 3, "preview_prompts": PROMPT}
ADAPTER = LORA | {"text_encoders": True}
PATTERN = {"attention": {"rank": 1, "alpha": 1.0}}


def rate(**schedule: Any) -> dict[str, Any]:
    return {"learning_rate_schedule": schedule}


def encoders(first: float, second: float) -> dict[str, Any]:
    return {"text_encoders": {"learning_rate_factor": {"first": first, "second": second}}}


def adapter(**changes: Any) -> dict[str, Any]:
    return {"adapter": ADAPTER | changes, "text_encoders": RATES}


def ranks(**changes: Any) -> dict[str, Any]:
    return adapter(patterns={"attention": PATTERN["attention"] | changes})


def times(of: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"timesteps": of | changes}


def caption(**changes: Any) -> dict[str, Any]:
    return {"caption": CAPTION | changes}


def forms(**changes: float) -> dict[str, Any]:
    """All forms are drawn from, so that each one's part is seen in all the others'."""
    return caption(forms={"tags": 1, "sentence": 1, "tags_sentence": 1, "sentence_tags": 1}
                   | changes)  # fmt: skip


def ranked(**words: float) -> dict[str, Any]:
    return caption(order=["quality", *ORDER], quality=words)


@dataclass(frozen=True)
class Row:
    """Trainings that must all differ.

    Attributes:
        see: In what: a key of what `outcome` returns.
    """

    values: list[dict[str, Any]]
    see: str = "numbers"


def of(name: str, *values: Any, see: str = "numbers", **beside: Any) -> Row:
    return Row([{name: value, **beside} for value in values], see)


ROWS = {
    "TrainParams.steps": of("steps", 3, 4, **rate(name="cosine", final=0.0)),
    "TrainParams.batch_size": of("batch_size", 4, 8),
    "TrainParams.batch_multiple": of("batch_multiple", None, 1, batch_size=16),
    "TrainParams.repeats": of("repeats", {}, {"smile": 3}),
    "TrainParams.gradient_accumulation": of("gradient_accumulation", 1, 2, see="forwards"),
    "TrainParams.layers": of("layers", None, ["attention"], ["mid"]),
    "TrainParams.layer_rates": of("layer_rates", {}, {"mid": 0.5}, {"mid": 2.0}),
    "TrainParams.text_encoders": of("text_encoders", None, RATES),
    "TrainParams.adapter": Row([adapter(), {"text_encoders": RATES}]),
    "TrainParams.optimizer": Row([{"optimizer": name, "ema_decay": 0.0} for name in OPTIMIZERS]),
    "TrainParams.optimizer_device": of("optimizer_device", "device", "host", see="states"),
    "TrainParams.step_in_backward": of("step_in_backward", False, True, max_gradient_norm=0.001),
    "TrainParams.learning_rate": of("learning_rate", 0.001, 0.002),
    "TrainParams.warmup_steps": of("warmup_steps", 0, 2),
    "TrainParams.betas": of("betas", [0.9, 0.99], [0.8, 0.99], [0.9, 0.9]),
    "TrainParams.weight_decay": of("weight_decay", 0.0, 0.1),
    "TrainParams.max_gradient_norm": of("max_gradient_norm", 0.001, 1000.0),
    "TrainParams.ema_decay": of("ema_decay", 0.0, 0.05, 0.1),
    "TrainParams.ema_precision": of("ema_precision", "fp32", "bf16", ema_decay=0.9),
    "TrainParams.ema_device": of("ema_device", "device", "host", ema_decay=0.9, see="average"),
    "TrainParams.tag_weighting": of("tag_weighting", True, False),
    "TrainParams.latent_scaling": of("latent_scaling", "per_channel", "sdxl"),
    "TrainParams.text_cache": of("text_cache", None, 1, 2),
    "TrainParams.mixed_precision": of("mixed_precision", "no", "bf16"),
    "TrainParams.weights": of("weights", "fp32", "bf16", mixed_precision="bf16"),
    "TrainParams.gradient_checkpointing": of("gradient_checkpointing", False, True, see="forwards"),
    "TrainParams.compile": of("compile", "off", "blocks", see="graphs"),
    "TrainParams.memory_format": of(
        "memory_format", "contiguous", "channels_last", see="channels_last"
    ),
    "TrainParams.frozen_models": of("frozen_models", "device", "host", see="visits"),
    "TrainParams.activation_offload": of("activation_offload", False, True, see="kept_beside"),
    "TrainParams.checkpoint_every": of("checkpoint_every", 1, 100, see="checkpoints"),
    "TrainParams.checkpoint_in_background": of(
        "checkpoint_in_background", True, False, checkpoint_every=1, see="threads"
    ),
    "TrainParams.keep_checkpoints": of(
        "keep_checkpoints", 1, 2, checkpoint_every=1, see="checkpoints"
    ),
    "TrainParams.preview_every": of(
        "preview_every", 0, 2, 3, preview_prompts=PROMPT, see="previews"
    ),
    "TrainParams.preview_prompts": of(
        "preview_prompts", PROMPT, ["1boy"], preview_every=3, see="previews"
    ),
    "TrainParams.stop_on": of(
        "stop_on", [], ["high_sigma"], steps=5, learning_rate=0.1, validation=LOOK, see="stopped"
    ),
    "TrainParams.seed": of("seed", 0, 1),
    "EncoderFactors.first": Row([encoders(value, 1.0) for value in (0.0, 0.5, 1.0)]),
    "EncoderFactors.second": Row([encoders(1.0, value) for value in (0.0, 0.5, 1.0)]),
    "AdapterParams.kind": Row(
        [adapter(kind=kind) for kind in ("lora", "dora", "lokr", "loha", "oft")]
    ),
    "AdapterParams.rank": Row([adapter(rank=2), adapter(rank=3)]),
    "AdapterParams.alpha": Row([adapter(alpha=2.0), adapter(alpha=4.0)]),
    "AdapterParams.patterns": Row([adapter(), adapter(patterns=PATTERN)]),
    "AdapterParams.convolutions": Row([adapter(convolutions=c) for c in (False, True)]),
    "AdapterParams.text_encoders": Row(
        [adapter(), {"adapter": ADAPTER | {"text_encoders": False}, "text_encoders": None}]
    ),
    "AdapterParams.source": Row([adapter(), adapter(**{"from": "earlier/adapter"})]),
    "RankParams.rank": Row([ranks(), ranks(rank=3), ranks(rank=0)]),
    "RankParams.alpha": Row([ranks(), ranks(alpha=3.0)]),
    "ConstantRate.name": Row([rate(name="constant"), rate(name="cosine", final=0.0)]),
    "CosineRate.name": Row([rate(name="cosine", final=0.0), rate(name="rex", final=0.0)]),
    "CosineRate.final": Row([rate(name="cosine", final=f) for f in (0.0, 0.5)]),
    "CosineRestartsRate.name": Row(
        [rate(name="cosine_restarts", cycles=2, final=0.0), rate(name="cosine", final=0.0)]
    ),
    "CosineRestartsRate.cycles": Row(
        [rate(name="cosine_restarts", cycles=c, final=0.0) for c in (1, 2)]
    ),
    "CosineRestartsRate.final": Row(
        [rate(name="cosine_restarts", cycles=2, final=f) for f in (0.0, 0.5)]
    ),
    "PolynomialRate.name": Row(
        [rate(name="polynomial", power=2.0, final=0.0), rate(name="rex", final=0.0)]
    ),
    "PolynomialRate.power": Row([rate(name="polynomial", power=p, final=0.0) for p in (1.0, 2.0)]),
    "PolynomialRate.final": Row([rate(name="polynomial", power=1.0, final=f) for f in (0.0, 0.5)]),
    "RexRate.name": Row([rate(name="rex", final=0.0), rate(name="constant")]),
    "RexRate.final": Row([rate(name="rex", final=f) for f in (0.0, 0.5)]),
    "PointsRate.name": Row([rate(name="points", points=[[0.0, 0.5]]), rate(name="constant")]),
    "PointsRate.points": Row([rate(name="points", points=[[0.0, p]]) for p in (0.5, 0.6)]),
    "UniformTimesteps.distribution": Row([times(UNIFORM), times(BETA)]),
    "_Timesteps.min": Row(
        [times(kind, min=low) for kind in (UNIFORM, LOGIT_NORMAL, BETA) for low in (0.0, 0.3)]
    ),
    "_Timesteps.max": Row(
        [times(kind, max=high) for kind in (UNIFORM, LOGIT_NORMAL, BETA) for high in (0.6, 1.0)]
    ),
    "_Timesteps.shift": Row(
        [times(kind, shift=px) for kind in (UNIFORM, LOGIT_NORMAL, BETA) for px in (None, 64)]
    ),
    "LogitNormalTimesteps.distribution": Row([times(LOGIT_NORMAL), times(UNIFORM)]),
    "LogitNormalTimesteps.mean": Row([times(LOGIT_NORMAL, mean=m) for m in (0.0, 0.5)]),
    "LogitNormalTimesteps.std": Row([times(LOGIT_NORMAL, std=s) for s in (1.0, 0.5)]),
    "BetaTimesteps.distribution": Row([times(BETA), times(LOGIT_NORMAL)]),
    "BetaTimesteps.alpha": Row([times(BETA, alpha=a) for a in (2.0, 3.0)]),
    "BetaTimesteps.beta": Row([times(BETA, beta=b) for b in (1.0, 2.0)]),
    "SquaredLoss.kind": of("loss", {"kind": "mse"}, HUBER),
    "PseudoHuberLoss.kind": of("loss", HUBER, HUBER | {"kind": "smooth_l1"}),
    "PseudoHuberLoss.delta": of("loss", HUBER, HUBER | {"delta": 0.5}),
    "PseudoHuberLoss.schedule": of(
        "loss", *(HUBER | {"schedule": s} for s in ("constant", "exponential", "snr"))
    ),
    "LossWeightParams.name": of(
        "loss_weight", *(WEIGHT | {"name": n} for n in ("none", "min_snr", "snr_plus_one"))
    ),
    "LossWeightParams.gamma": of("loss_weight", WEIGHT, WEIGHT | {"gamma": 1.0}),
    "LossWeightParams.learned": of("loss_weight", WEIGHT, LEARNED),
    "LearnedWeightParams.channels": of(
        "loss_weight", LEARNED, LEARNED | {"learned": {"channels": 64, "learning_rate": 0.1}}
    ),
    "LearnedWeightParams.learning_rate": of(
        "loss_weight", LEARNED, LEARNED | {"learned": {"channels": 32, "learning_rate": 0.2}}
    ),
    "RegularisationParams.tags": of(
        "regularisation", *({"tags": tags, "folders": {}} for tags in ({}, {"smile": 0.1}))
    ),
    "RegularisationParams.folders": of(
        "regularisation", *({"tags": {}, "folders": f} for f in ({}, {"*": 0.1}))
    ),
    "CaptionParams.drop_all": Row([caption(), caption(drop_all=0.9)]),
    "CaptionParams.drop_tag": Row([caption(), caption(drop_tag=0.9)]),
    "CaptionParams.drop_class": Row([caption(), caption(drop_class={"general": 1.0})]),
    "CaptionParams.protected": Row(
        [caption(drop_tag=0.9), caption(drop_tag=0.9, protected=["smile"])]
    ),
    "CaptionParams.order": Row(
        [
            caption(),
            caption(order=ORDER[::-1]),
            caption(order=["year", *ORDER]),
            caption(order=["rating", *ORDER]),
        ]
    ),
    "CaptionParams.keep_first": Row(
        [caption(shuffle=True, keep_first=kept) for kept in (0, "marked", 1000)]
    ),
    "CaptionForms.tags": Row(
        [
            caption(),
            *(
                caption(forms=dict.fromkeys(FORMS, 0.0) | {form: 1.0})
                for form in FORMS
                if form != "tags"
            ),
            forms(),
            forms(tags=3),
        ]
    ),
    "CaptionForms.sentence": Row([forms(), forms(sentence=100)]),
    "CaptionForms.tags_sentence": Row([forms(), forms(tags_sentence=100)]),
    "CaptionForms.sentence_tags": Row([forms(), forms(sentence_tags=100)]),
    "CaptionParams.quality": Row([caption(), ranked(best=0.9, low=0.0), ranked(best=0.2, low=0.0)]),
    "CaptionParams.prefix": Row([caption(), caption(prefix="painting")]),
    "CaptionParams.suffix": Row([caption(), caption(suffix="painting")]),
    "CaptionParams.shuffle": Row([caption(), caption(shuffle=True)]),
    "CaptionParams.underscores": Row([caption(), caption(underscores="space")]),
    "CaptionParams.token_chunks": Row([caption(), caption(token_chunks=2)]),
    "ValidationParams.every": of("validation", LOOK, LOOK | {"every": 2}, see="looks"),
    "ValidationParams.images": of("validation", LOOK, LOOK | {"images": 3}, see="looks"),
    "ValidationParams.levels": of("validation", LOOK, LOOK | {"levels": 2}, see="looks"),
}
