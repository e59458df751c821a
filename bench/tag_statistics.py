"""Tag statistics of a whole manifest, file to tables.

Counts of names, coding of every use, co-occurrence of the 100 most used tags, rarity, weights of
tags and of every image. Once more with rules: an alias for every fiftieth of the ten thousand most
used tags, and nine of ten that imply another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.booru import TagModel
from bench.performance import PAGE, alone, cost, manifests_from_arguments, write
from bench.results import table

from nadir.config.reader import read_section
from nadir.config.tag_statistics import TagStatisticsParams
from nadir.data.tags.rules import TagRules
from nadir.data.tags.weights import effective_sample_share, tag_statistics

if TYPE_CHECKING:
    from pathlib import Path


def rules() -> TagRules:
    """About as many rules on as many uses as a booru has."""
    names = TagModel.load().names[:10_000].to_pylist()
    aliases = [(names[row], names[row - 1]) for row in range(49, 10_000, 50)]
    implied = [(names[row], names[row // 10]) for row in range(10, 10_000) if row % 10]
    return TagRules(aliases, implied)


def measure(folder: Path, manifest: Path, *, with_rules: bool) -> dict[str, Any]:
    """Seconds for one manifest, and what came out."""
    params = read_section("tag_statistics", TagStatisticsParams, PAGE.parents[1] / "params.yaml")
    chosen = rules() if with_rules else None
    found: list[Any] = []
    took = cost(
        lambda: found.append(tag_statistics(manifest, params, rules=chosen, scratch=folder))
    )
    return {
        "seconds": took,
        "tags": found[0].tags.num_rows,
        "uses": int(found[0].tags["count"].to_numpy().sum()),
        "effective": effective_sample_share(found[0].weights),
    }


def without_rules(folder: Path, manifest: Path) -> dict[str, Any]:
    """As the tags stand."""
    return measure(folder, manifest, with_rules=False)


def with_rules(folder: Path, manifest: Path) -> dict[str, Any]:
    """Aliases and implications applied."""
    return measure(folder, manifest, with_rules=True)


def main() -> None:
    """Measure and write the section."""
    rows = []
    for posts, manifest in manifests_from_arguments(__doc__):
        for name, function in (("", without_rules), (", with rules", with_rules)):
            found = alone(function, manifest)
            rows.append(
                [
                    f"{posts:,}{name}",
                    f"{found['uses']:,}",
                    f"{found['tags']:,}",
                    *(f"{part:.1f}" for part in found["seconds"]),
                    f"{found['seconds'][1] / posts * 1e6:.1f}",
                    f"{found['effective']:.0%}",
                    f"{found['peak_gb']:.1f}",
                ]
            )
    header = ["images", "uses", "tags", "s", "CPU, s", "CPU µs/image", "effective sample", "GB"]
    write("Tag statistics", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
