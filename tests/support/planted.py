"""A model whose faults are known: it draws sample pictures by their tags, with a fault if asked.

Pictures are drawn by the generator of the sample dataset, so an honest model of this kind draws
what the tags say, as training images do, and never a training image itself.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch

from nadir.evaluation.measure import Measurements
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.metrics.light.terminal import MeanLeak, TerminalCanvas
from nadir.evaluation.metrics.loss import HeldOutLoss
from nadir.evaluation.metrics.parameterisation import ParameterisationRatio
from nadir.evaluation.networks.loaded import Networks
from nadir.evaluation.protocol import EvalPrompt
from nadir.evaluation.reals.colours import thumbnails
from nadir.evaluation.reals.pictures import PictureSet, RealPictures
from nadir.evaluation.results import scale_key, summarise, to_frame
from nadir.sampling.generate import Drawing
from nadir.synthetic.dataset import draw_scene

CFG = 4.5
SIDE_PX = 32
TRAINING, HELD_OUT = 240, 64
RARE_USES = 32
"""Tags with fewer uses in training count as rare here; a real dataset has them by the hundred."""
COLOURS = (("red_hair", "blue_hair"), ("red_background", "blue_background"))
LEVELS = {"black": 0.0, "red": 0.27, "grey": 0.59, "yellow": 0.84, "white": 1.0}
_SEEDS = (1, 2, 3, 4)
_TRIES = 4


@cache
def picture(name, tags=()):
    """An image [3, H, W] in 0-1 and its tags, by chance of a name."""
    image, found = draw_scene(random.Random(name), tags, size=(SIDE_PX, SIDE_PX))
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255, found


def tag_class(tag):
    """Colours of hair stand for a class of tags that may be forgotten."""
    return "character" if tag.endswith("_hair") and tag.split("_")[0] not in _SHAPES else "general"


_SHAPES = {"long", "short", "messy", "very", "medium"}


class Reals:
    """The project's images, and the metrics' subject."""

    def __init__(self):
        self.training = [picture(f"training {i}") for i in range(TRAINING)]
        # Two colours at once are rare by chance, and binding needs a probe that knows them.
        self.training += [
            picture(f"colour {one} {other} {i}", (one, other, "1girl", "portrait"))
            for i in range(7)
            for one in COLOURS[0]
            for other in COLOURS[1]
        ]
        self.held_out = [picture(f"held out {i}") for i in range(HELD_OUT)]
        sets = [self._set(part) for part in (self.held_out, self.training)]
        uses = Counter(tag for tags in sets[1].tags for tag in tags)
        rarity = {tag: "tail" if count < RARE_USES else "head" for tag, count in uses.items()}
        self.pictures = RealPictures(*sets, rarity)
        self.honest = [
            picture(f"honest {i}", tuple(tags)) for i, (_, tags) in enumerate(self.held_out)
        ]

    def judged(self, belongs):
        """Names of the judged tags with some property of name and class."""
        return {tag[0] for tag in self.pictures.probe.judged.tags if belongs(tag)}

    def without(self, names, instead=()):
        """What a model draws that never learnt some tags: the rest of each caption."""
        return [
            image if not names & {*tags} else self._without(place, names, instead)
            for place, (image, tags) in enumerate(self.honest)
        ]

    def _without(self, place, names, instead):
        rest = tuple(tag for tag in self.held_out[place][1] if tag not in names)
        tries = [picture(f"without {place} {k}", (*rest, *instead)) for k in range(_TRIES)]
        return min(tries, key=lambda found: len(names & {*found[1]}))[0]

    @staticmethod
    def _set(pictures):
        images = np.stack([image for image, _ in pictures])
        tags = [[(tag, tag_class(tag)) for tag in found] for _, found in pictures]
        return PictureSet([str(i) for i in range(len(images))], tags, thumbnails(images))


class Numbers(dict):
    """Numbers by name, and the rows of the evaluation table behind them."""

    def __init__(self, numbers, rows):
        super().__init__(numbers)
        self.rows = rows


def measured(reals, params, *, change=lambda image: image, content=None, bind=lambda a, b: (a, b)):
    """Numbers at one scale of a model with a fault.

    Args:
        reals: The project's images.
        params: Section `evaluate`.
        change: What it does to every picture.
        content: Picture of each held-out caption; those of an honest model by default.
        bind: The two colours it draws when asked for two.
    """
    plan = _plan(reals)
    networks = Networks(params.networks, device=torch.device("cpu"))
    known: frozenset[str] = frozenset()
    subject = SimpleNamespace(
        plan=plan, reals=reals.pictures, params=params, known=known, holdout=[], networks=networks,
        real_latents=None,
    )  # fmt: skip
    apart = (HeldOutLoss, ParameterisationRatio, TerminalCanvas, MeanLeak)
    metrics = [metric() for metric in METRICS if metric not in apart]
    for metric in metrics:
        metric.prepare(subject)
    found = Measurements(metrics)
    for prompt, (image, _) in zip(plan.of_kind("holdout"), reals.held_out, strict=True):
        found.add_reference(prompt.id, image)
    drawn = content or [image for image, _ in reals.honest]
    for prompt, image in zip(plan.of_kind("holdout"), drawn, strict=True):
        _show(found, prompt, [change(image)])
    for prompt in plan.of_kind("brightness", "ladder"):
        asked = f"{prompt.id}_background"
        images = [
            picture(f"{prompt.id} {seed}", (asked, "1girl", "portrait"))[0] for seed in _SEEDS
        ]
        _show(found, prompt, [change(image) for image in images])
    for prompt in plan.of_kind("binding"):
        tags = (*bind(*prompt.colours), "1girl", "portrait")
        images = [picture(f"{prompt.id} {seed}", tags)[0] for seed in _SEEDS]
        _show(found, prompt, [change(image) for image in images])
    rows = to_frame(found.rows)
    return Numbers(summarise(metrics, [CFG], rows)[scale_key(CFG)], rows)


def _show(found, prompt, images):
    drawings = [
        Drawing(prompt.text, seed, CFG, image.astype(np.float32), True, True, {})
        for image, seed in zip(images, prompt.seeds, strict=True)
    ]
    found.add(prompt, drawings)


def _plan(reals):
    captions = [
        EvalPrompt(f"holdout_{i}", ", ".join(tags), "holdout", (1,))
        for i, (_, tags) in enumerate(reals.held_out)
    ]
    probes = [
        EvalPrompt(
            name, f"{name}_background", "brightness" if target in (0.0, 1.0) else "ladder",
            _SEEDS, target, "border",
        )
        for name, target in LEVELS.items()
    ]  # fmt: skip
    pairs = [
        EvalPrompt(f"{a}_and_{b}", f"{a}, {b}", "binding", _SEEDS, colours=(a, b))
        for a in COLOURS[0]
        for b in COLOURS[1]
    ]
    prompts = (*captions, *probes, *pairs)

    def of_kind(*kinds):
        return tuple(prompt for prompt in prompts if prompt.kind in kinds)

    return SimpleNamespace(prompts=prompts, of_kind=of_kind, cfg_scales=(CFG,))
