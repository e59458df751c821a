"""Seeded choice among tags: Zipf frequencies, and wishes that override them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping, Sequence

IMPLIED: dict[str, tuple[str, ...]] = {
    "serafuku": ("school_uniform", "sailor_collar"), "sundress": ("dress",),
    "suit": ("necktie", "formal"),
    "maid_apron": ("maid", "apron"), "cat_ears": ("animal_ears",),
    "rabbit_ears": ("animal_ears",),
    "fox_ears": ("animal_ears",), "straw_hat": ("hat",), "witch_hat": ("hat", "witch"),
    "santa_hat": ("hat", "christmas"),
    "top_hat": ("hat",), "angel_wings": ("wings",), "bat_wings": ("wings",),
    "fairy_wings": ("wings",),
    "cat_tail": ("tail",), "tears": ("crying",), "kitten": ("cat", "animal"),
    "teddy_bear": ("stuffed_toy",),
    "cat": ("animal", "animal_focus"), "rabbit": ("animal", "animal_focus"),
    "bird": ("animal", "animal_focus"),
    "fish": ("animal", "animal_focus"), "cake": ("food", "food_focus"), "apple": ("fruit",),
    "book": ("open_book",),
    "bouquet": ("flower",), "hair_flower": ("hair_ornament", "flower"),
    "hairclip": ("hair_ornament",),
    "star_hair_ornament": ("hair_ornament",), "sunglasses": ("eyewear",),
    "glasses": ("eyewear",),
}  # fmt: skip
"""Tags that a more special tag brings along."""


def zipf(names: Sequence[str], exponent: float, *, total: float = 1.0) -> dict[str, float]:
    """Probabilities that fall with rank as rank^-exponent and sum to `total`."""
    weights = [(rank + 1) ** -exponent for rank in range(len(names))]
    scale = total / sum(weights)
    return {name: weight * scale for name, weight in zip(names, weights, strict=True)}


class Chooser:
    """Draws from tables of tags.

    Args:
        rng: The source of chance.
        wanted: Tags that the picture should have. A table that offers any of them is restricted to
            the entries that offer most.
    """

    def __init__(self, rng: random.Random, wanted: Iterable[str] = ()) -> None:
        self.rng = rng
        self.wanted = frozenset(wanted)

    def pick(
        self, table: Mapping[str, float], *, offers: Callable[[str], set[str]] | None = None
    ) -> str:
        """One entry, by weight.

        Args:
            table: Entries and their weights; weights need not sum to 1.
            offers: The tags that choosing an entry brings; the entry itself when left out. What
                they imply comes on top.
        """
        entries = list(table)
        if self.wanted:
            scores = {
                name: self._wishes_met(offers(name) if offers else {name}) for name in entries
            }
            best = max(scores.values())
            entries = [name for name in entries if scores[name] == best]
        return self.rng.choices(entries, [table[name] for name in entries])[0]

    def _wishes_met(self, tags: set[str]) -> int:
        implied = {more for tag in tags for more in IMPLIED.get(tag, ())}
        return len((tags | implied) & self.wanted)

    def some(self, table: Mapping[str, float]) -> tuple[str, ...]:
        """Every wanted entry of the table, or else each by its own probability."""
        hits = tuple(name for name in table if name in self.wanted)
        return hits or tuple(name for name, share in table.items() if self.rng.random() < share)

    def chance(self, tag: str, share: float) -> bool:
        """Whether something is so: by probability, or, where there are wishes, as wished."""
        return tag in self.wanted if self.wanted else self.rng.random() < share

    def wants_any(self, tags: Iterable[str]) -> bool:
        """Whether any of the tags is wanted."""
        return not self.wanted.isdisjoint(tags)
