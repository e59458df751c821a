"""The tags that are followed worst, as a table with pictures of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from nadir.evaluation.results import scale_key
from nadir.ground.pages.page import number, picture_figure, thumbnail_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.reals.probe import Judged
    from nadir.heldout.thumbnails import Tag

SHOWN = 20
_PICTURES = 4
_PICTURE_PX = 160
_NAMED = 30


@dataclass(frozen=True)
class TagResult:
    """One tag at the deciding scale.

    Attributes:
        tag: Name and class.
        rarity: `head`, `mid` or `tail`.
        real_recall: Share of real images with the tag in which it is seen.
        pictures: (score above the threshold, prompt id, seed) of each drawn one, lowest first.
    """

    tag: Tag
    rarity: str
    real_recall: float
    pictures: tuple[tuple[float, str, int], ...]

    @property
    def recall(self) -> float:
        """Share of the pictures in which it is seen, over that of real ones."""
        seen = sum(margin > 0 for margin, _, _ in self.pictures)
        return seen / len(self.pictures) / self.real_recall


def worst_table(
    results: Sequence[TagResult], evaluation: Evaluation, judged: Judged, cfg_scale: float
) -> Markup:
    """The twenty worst tags, and what cannot be judged.

    Args:
        results: Every judged tag that was asked for.
        evaluation: Holds the pictures.
        judged: What the probe can judge.
        cfg_scale: The scale of the pictures.
    """
    ranked = sorted(results, key=lambda one: (one.recall, -len(one.pictures), one.tag))[:SHOWN]
    head = Markup(
        '<th>Tag</th><th>Rarity</th><th class="n">Pictures</th><th class="n">Recall</th>'
        '<th class="n">In real images</th><th>Where it is seen least</th>'
    )
    rows = Markup("").join(_row(one, evaluation, cfg_scale) for one in ranked)
    return Markup(
        '<figure class="chart levels wide pixels"><div class="chart-title">The {} worst tags, CFG '
        '{}</div><div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'
        "</div>"
        "<figcaption>{}</figcaption></figure>"
    ).format(len(ranked), scale_key(cfg_scale), head, rows, _not_judged(judged))


def _row(one: TagResult, evaluation: Evaluation, cfg_scale: float) -> Markup:
    texts = {prompt.id: prompt.text for prompt in evaluation.plan.prompts}
    pictures = Markup("").join(
        picture_figure(
            thumbnail_uri(evaluation.pictures[cfg_scale, prompt, seed], _PICTURE_PX),
            f"{one.tag[0]} in: {texts[prompt]}, seed {seed}",
        )
        for _, prompt, seed in one.pictures[:_PICTURES]
    )
    name, kind = one.tag
    return Markup(
        "<tr><td><code>{}</code><small>{}</small></td><td>{}</td>"
        '<td class="n">{}</td><td class="n">{}</td><td class="n">{}</td>'
        '<td><div class="row">{}</div></td></tr>'
    ).format(
        name, kind, one.rarity, len(one.pictures), number(one.recall), number(one.real_recall),
        pictures,
    )  # fmt: skip


def _not_judged(judged: Judged) -> str:
    unseen = ", ".join(name for name, _ in judged.not_seen[:_NAMED])
    more = len(judged.not_seen) - _NAMED
    return (
        f"{len(judged.tags)} tags can be judged. {len(judged.too_few)} cannot, for fewer than 20 "
        f"real images have them; {len(judged.not_seen)} cannot, for the probe misses most real "
        f"ones{': ' + unseen if unseen else ''}{f' and {more} more' if more > 0 else ''}. A "
        "tag with few pictures is known roughly: 20 pictures give ±0.17."
    )
