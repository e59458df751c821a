"""Stage `tag_statistics`: count the training images' tags and weigh them by rarity."""

from __future__ import annotations

import csv
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from transformers import CLIPTokenizer

from nadir.config.reader import read_section
from nadir.config.tag_statistics import TagStatisticsParams
from nadir.config.train import TrainParams
from nadir.data.tables import (
    MANIFEST,
    TAG_PAIRS,
    TAG_RULES,
    TAGS,
    check_table,
    read_table,
    write_table,
)
from nadir.data.tags.caption_lengths import caption_lengths
from nadir.data.tags.charts import draw_use, draw_weights
from nadir.data.tags.rules import TagRules
from nadir.data.tags.weights import effective_sample_share, tag_statistics
from nadir.ground import artifacts
from nadir.ground.events import emit, say
from nadir.ground.files import atomic_path, write_json
from nadir.ground.workspace import work_folder
from nadir.model.sdxl.token_counts import token_counter
from nadir.stages.runner import run

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from nadir.data.tags.weights import Measure, TagStatistics

_TOKENIZERS = (artifacts.BASE / "tokenizer", artifacts.BASE / "tokenizer_2")
_PLOTTED_RANKS = 1000
_FORMULA_STARTS = ("=", "+", "-", "@")


def work() -> None:
    """Write the tables of tags and pairs, metrics and plots."""
    check_table(artifacts.MANIFEST, MANIFEST)
    rules = TagRules.of_table(read_table(artifacts.TAG_RULES, TAG_RULES))
    scratch = work_folder("tag_statistics")
    try:
        params = read_section("tag_statistics", TagStatisticsParams)
        found = tag_statistics(
            artifacts.MANIFEST, params, rules=rules, scratch=scratch, measure=_captions()
        )
    finally:
        # With what a killed run may have left.
        shutil.rmtree(scratch, ignore_errors=True)
    write_table(found.tags, artifacts.TAGS, TAGS)
    write_table(found.pairs, artifacts.TAG_PAIRS, TAG_PAIRS)
    _write_ranks(found.tags, artifacts.TAG_RANKS)
    draw_use(found.tags, artifacts.TAG_USE_CHART)
    draw_weights(found.tags, found.weights, artifacts.TAG_WEIGHTS_CHART)
    report = _report(found)
    write_json(artifacts.TAG_NUMBERS, report)
    say(
        f"tag_statistics: {report['tags']:,} tags, {report['uses']:,} uses; weighting by them "
        f"leaves {report['effective_sample_size_share']:.0%} of the effective sample size"
    )
    if found.captions and (warning := found.captions.warning()):
        say(f"WARNING tag_statistics: {warning}")
    emit("result", stage="tag_statistics", **report)


def _captions() -> Measure:
    """Measures captions as training writes and reads them, with the base model's tokenizers."""
    captions = read_section("train", TrainParams).caption
    count = token_counter([CLIPTokenizer.from_pretrained(folder) for folder in _TOKENIZERS])
    return lambda uses, tags: caption_lengths(uses, tags, captions, count)


def _report(found: TagStatistics) -> dict[str, Any]:
    """The metrics: tags and their uses in all, by class and by rarity, and what the weights do."""
    counts = found.tags["count"].to_numpy()
    share = effective_sample_share(found.weights)
    return {
        "tags": found.tags.num_rows,
        "uses": int(counts.sum()),
        "classes": _by(found.tags, "class"),
        "rarity": _by(found.tags, "rarity"),
        "rules_that_apply": len(pc.list_flatten(found.tags["from_names"])),
        "captions": found.captions.as_json() if found.captions else None,
        "effective_sample_size": share * len(found.weights),
        "effective_sample_size_share": share,
    }


def _by(tags: pa.Table, column: str) -> dict[str, dict[str, int]]:
    """Tags and uses for each value of a column."""
    grouped = tags.group_by(column).aggregate([("count", "count"), ("count", "sum")]).to_pylist()
    return {
        row[column]: {"tags": row["count_count"], "uses": row["count_sum"]}
        for row in sorted(grouped, key=lambda row: str(row[column]))
    }


def _write_ranks(tags: pa.Table, path: Path) -> None:
    """Every rank of a small vocabulary; of a large one, ranks evenly spread on a log axis."""
    ranks = np.unique(np.geomspace(1, max(tags.num_rows, 1), 2 * _PLOTTED_RANKS).round())
    if tags.num_rows <= _PLOTTED_RANKS:
        ranks = np.arange(1, tags.num_rows + 1)
    shown = tags.take(ranks.astype(np.int64) - 1)
    rows = zip(*(shown[name].to_pylist() for name in ("count", "tag", "class")), strict=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rank", "count", "tag", "class"])
        for rank, (count, tag, tag_class) in zip(ranks, rows, strict=True):
            # A spreadsheet would take such a tag for a formula and run it.
            shown_tag = f"'{tag}" if tag.startswith(_FORMULA_STARTS) else tag
            writer.writerow([int(rank), count, shown_tag, tag_class])


def main() -> None:
    """Entry point."""
    run("tag_statistics", work)


if __name__ == "__main__":
    main()
