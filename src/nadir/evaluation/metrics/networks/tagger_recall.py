"""Recall of asked tags by a tagger, which knows tags of details that the probe cannot see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.data.tags.written import prompt_tags
from nadir.evaluation.metric import PromptMean
from nadir.evaluation.metrics.networks.base import not_given
from nadir.evaluation.report.sections import CONTENT

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from nadir.evaluation.networks.tagger import Tagger
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues

_RARITIES = ("head", "mid", "tail")


class TaggerRecall(PromptMean):
    """Share of the asked tags that a tagger sees, in all and by rarity, beside real images' own.

    A tagger misses tags in real images as well, so the table has what it sees in held-out images
    through the same VAE. 64 images give ±0.04 (95 %), one tag alone far less.
    """

    name = "tagger_recall"
    title = "Tag recall by a tagger"
    unit = "share of asked tags that its table has"
    direction = "higher"
    meaning = (
        "How many of the asked tags the tagger sees. Compare with what it sees in real images, "
        "which the table has beside it: a model cannot be asked for more."
    )
    section = CONTENT

    def prepare(self, subject: Subject) -> None:
        """Read the tagger and show it the held-out images."""
        self._tagger = subject.networks.tagger
        self._asked = {
            f"holdout_{image.id}": {name for name, _ in image.tags} for image in subject.holdout
        }
        found = subject.real_latents.rarity if subject.real_latents else {}
        self._rarity = {name: rarity for (name, _), rarity in found.items()}
        self._drawn: dict[float, list[dict[str, tuple[int, int]]]] = {}
        self._real: list[dict[str, tuple[int, int]]] = []
        if self._tagger is None:
            return
        for image in subject.holdout:
            seen = self._tagger.seen(subject.pixels(image)[None])
            self._real += self._counts(self._tagger, seen, {name for name, _ in image.tags})

    def not_run(self, subject: Subject) -> str | None:
        """Without weights."""
        return not_given(subject, "tagger")

    def see(self, drawn: Drawn) -> dict[str, NDArray[np.float64]] | None:
        """Recall of each image, of all tags and of each rarity that it asks for."""
        prompt = drawn.prompt
        if self._tagger is None or prompt.kind not in {"fixed", "holdout"}:
            return None
        names = self._asked.get(prompt.id) or {tag for _, tag in prompt_tags(prompt.text)}
        counts = self._counts(self._tagger, self._tagger.seen(drawn.images_NCHW), names)
        self._drawn.setdefault(drawn.cfg_scale, []).extend(counts)
        return {
            name: np.array([_share([one[name]]) for one in counts], dtype=np.float64)
            for name in self._groups()
        }

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """The mean over prompts, the ratio of sums of each rarity, and both of real images."""
        drawn = self._drawn.get(values.cfg_scale, [])
        groups = list(self._groups())
        parts = {name: _share([one[name] for one in drawn]) for name in groups[1:]}
        real = {f"{name}_of_real": _share([one[name] for one in self._real]) for name in groups}
        return super().of_scale(values) | parts | (real if drawn else {})

    def columns(self) -> dict[str, str]:
        """All tags, each rarity, and the same of real images."""
        titles = {self.name: self.title} | {
            f"{self.name}_{rarity}": f"{self.title}: {rarity}" for rarity in _RARITIES
        }
        return titles | {f"{k}_of_real": f"{title}, real images" for k, title in titles.items()}

    def _groups(self) -> dict[str, str | None]:
        return {self.name: None} | {f"{self.name}_{rarity}": rarity for rarity in _RARITIES}

    def _counts(
        self, tagger: Tagger, seen_NT: NDArray[np.bool_], names: Collection[str]
    ) -> list[dict[str, tuple[int, int]]]:
        """(seen, asked) of each group in each image."""
        known = [name for name in sorted(names) if name in tagger.column]
        columns = {
            group: [
                tagger.column[name]
                for name in known
                if rarity is None or self._rarity.get(name) == rarity
            ]
            for group, rarity in self._groups().items()
        }
        return [
            {group: (int(row[places].sum()), len(places)) for group, places in columns.items()}
            for row in seen_NT
        ]


def _share(counts: list[tuple[int, int]]) -> float:
    asked = sum(one for _, one in counts)
    return sum(seen for seen, _ in counts) / asked if asked else float("nan")
