"""Aliases (one tag under several names) and implications (a tag that always brings another)."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from nadir.data.tables import TAG_RULES
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import pyarrow as pa

ALIASES_KEY, IMPLICATIONS_KEY = "ingest.tag_aliases", "ingest.tag_implications"
_SHOWN = 8


class TagRules:
    """What a name in an image stands for.

    Args:
        aliases: (name, tag that it stands for). Chains are followed to their end.
        implications: (tag, tag that it brings with it), direct ones suffice. Aliases hold in them.

    Raises:
        NadirError: A name stands for two tags, or rules go in a circle.
    """

    def __init__(
        self, aliases: Iterable[tuple[str, str]], implications: Iterable[tuple[str, str]]
    ) -> None:
        self._alias: dict[str, str] = {}
        for name, tag in aliases:
            if self._alias.setdefault(name, tag) != tag:
                raise NadirError(
                    f"`{name}` stands for `{self._alias[name]}` and for `{tag}`",
                    where=f"params.yaml {ALIASES_KEY}",
                    fix="delete one of the two rows",
                )
        chains = {name: {tag} for name, tag in self._alias.items()}
        for name in _in_order(chains, "aliases", ALIASES_KEY):
            if name in self._alias:
                self._alias[name] = self._alias.get(self._alias[name], self._alias[name])
        self._implied = self._closed(implications)

    @classmethod
    def of_table(cls, table: pa.Table) -> TagRules:
        """The rules of a `TAG_RULES` table."""
        rows = list(zip(*(table[name].to_pylist() for name in TAG_RULES.names), strict=True))
        aliases, implications = (
            [(name, tag) for found, name, tag in rows if found == kind]
            for kind in ("alias", "implication")
        )
        return cls(aliases, implications)

    def tags(self, name: str) -> tuple[str, ...]:
        """The tag that a name stands for, and all that this one implies."""
        tag = self._alias.get(name, name)
        return (tag, *self._implied.get(tag, ()))

    def aliases(self, tags: Collection[str]) -> dict[str, str]:
        """Every other name of some tags, sorted, and the tag that it stands for."""
        return {name: tag for name, tag in sorted(self._alias.items()) if tag in tags}

    def _closed(self, implications: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
        """Every tag that implies others, with all of them, direct ones first."""
        direct: dict[str, dict[str, None]] = {}
        for name, target in implications:
            tag, other = self._alias.get(name, name), self._alias.get(target, target)
            # An implication between two names of one tag says nothing.
            if tag != other:
                direct.setdefault(tag, {})[other] = None
        closed: dict[str, tuple[str, ...]] = {}
        for tag in _in_order(direct, "implications", IMPLICATIONS_KEY):
            found = dict(direct.get(tag, {}))
            for other in direct.get(tag, {}):
                found |= dict.fromkeys(closed.get(other, ()))
            if found:
                closed[tag] = tuple(found)
        return closed


def _in_order(graph: Mapping[str, Iterable[str]], what: str, key: str) -> list[str]:
    """Every name after those that it points to."""
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        shown = " -> ".join(f"`{name}`" for name in circle[:_SHOWN])
        raise NadirError(
            f"{what} go in a circle: {shown}{' ...' if len(circle) > _SHOWN else ''}",
            where=f"params.yaml {key}",
            fix="delete one of these rows",
        ) from None
