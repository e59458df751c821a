"""What validation found as a whole: totals for the gate, metrics, messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.gate.leaks import leaking_images
from nadir.data.gate.profile import drift, profile
from nadir.data.gate.splits import MIN_IMAGES, assign_splits
from nadir.data.gate.tag_sanity import tag_sanity
from nadir.data.gate.verdicts import UNRATED
from nadir.data.tag_text import rating_word
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from nadir.config.validate import ValidateParams
    from nadir.data.gate.expectations import Outcome
    from nadir.data.gate.manifest import Manifest
    from nadir.data.gate.verdicts import Screened


@dataclass(frozen=True)
class Dataset:
    """A screened and split dataset.

    Attributes:
        listed: Images of the source.
        manifest: Usable images with their splits.
        quarantine: The others, schema `QUARANTINE`.
        totals: One number per name; what the gate looks at.
        profile: What it is like, from `nadir.data.gate.profile`.
        reference: The same of the accepted dataset, if there is one.
        colours: Used images by what became of their embedded colour profile.
    """

    listed: int
    manifest: Manifest
    quarantine: pa.Table
    totals: dict[str, int | float | None]
    profile: dict[str, Any]
    reference: dict[str, Any] | None
    colours: dict[str, int]

    @property
    def ratings(self) -> dict[str, int]:
        """Used images by rating, most frequent first."""
        ratings = self.manifest.used("rating").fill_null(UNRATED).value_counts().to_pylist()
        counts = {row["values"]: row["counts"] for row in ratings}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def reasons(self) -> dict[str, int]:
        """Quarantined images by reason, most frequent first."""
        counts = Counter(self.quarantine.column("reason").to_pylist())
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def splits(self) -> dict[str, int]:
        """Images by split."""
        held = int(self.manifest.held.sum())
        return {"train": self.manifest.num_rows - held, "holdout": held}


def split(
    screened: Screened,
    *,
    listed: int,
    params: ValidateParams,
    reference: dict[str, Any] | None = None,
) -> Dataset:
    """Assign train and hold-out, and count.

    Args:
        screened: What was screened.
        listed: Images of the source.
        params: Hold-out and ratings.
        reference: Profile of the accepted dataset, if there is one.
    """
    values = screened.manifest.perceptual_hashes()
    held, groups = assign_splits(values, share=params.holdout_share, seed=params.split_seed)
    manifest = screened.manifest.with_split(held)
    tags = manifest.tag_counts()
    about = profile(manifest, tags)
    totals = {
        **_counts(screened, manifest, listed=listed, params=params),
        "leaking_images": leaking_images(values, held),
        "decodable_share": _share(screened.decoded, listed),
        "usable_share": _share(len(held), listed),
        "tagged_share": _share(screened.tagged, screened.decoded),
        "tag_vocabulary_share": _share(screened.tags_well_formed, screened.tags_written),
        **tag_sanity(tags, manifest.num_rows),
        "duplicate_share": _share(screened.copies, screened.decoded),
        "near_duplicate_share": _share(int((np.bincount(groups) > 1)[groups].sum()), len(held)),
        **drift(about, reference),
    }
    return Dataset(
        listed, manifest, screened.quarantine, totals, about, reference, screened.colours
    )


def _counts(
    screened: Screened,
    manifest: Manifest,
    *,
    listed: int,
    params: ValidateParams,
) -> dict[str, int]:
    held = manifest.held
    wants_holdout = params.holdout_share > 0 and len(held) >= MIN_IMAGES
    ratings = manifest.used("rating")
    unwanted = pc.is_in(
        ratings.fill_null(UNRATED),
        pa.array([rating_word(r) for r in params.warn_ratings], pa.string()),
    )
    return {
        "usable_images": len(held),
        "train_images": int((~held).sum()),
        "unaccounted_images": abs(listed - len(held) - screened.quarantine.num_rows),
        "missing_holdout": int(wants_holdout and not held.any()),
        "unwanted_ratings": int(pc.sum(unwanted).as_py() or 0),
        # Images without a rating are left out, too, when that is asked for.
        "unrated_images": ratings.null_count if params.exclude_ratings else 0,
    }


def metrics(dataset: Dataset, outcomes: list[Outcome]) -> dict[str, Any]:
    """`reports/validation.json`: numbers, and the warnings as text."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    critical = [outcome for outcome in failed if outcome.expectation.severity == "critical"]
    shares = [name for name in dataset.totals if name.endswith(("_share", "_drift"))]
    return {
        "images": {
            "listed": dataset.listed,
            "used": dataset.manifest.num_rows,
            "quarantined": dataset.quarantine.num_rows,
            **dataset.splits,
        },
        "quarantined": dataset.reasons,
        "ratings": dataset.ratings,
        "colour_profiles": dataset.colours,
        "shares": {
            name: dataset.totals[name] for name in shares if dataset.totals[name] is not None
        },
        "expectations": {
            "passed": len(outcomes) - len(failed),
            "warnings": len(failed) - len(critical),
            "critical": len(critical),
        },
        "warnings": [outcome.text for outcome in failed],
    }


def worst_examples(quarantine: pa.Table, count: int = 3) -> list[dict[str, str]]:
    """Images that show what is wrong: one per reason, the most frequent reason first."""
    rows: list[dict[str, str]] = quarantine.to_pylist()
    frequency = Counter(row["reason"] for row in rows)
    seen: Counter[str] = Counter()
    ranked = []
    for row in rows:
        ranked.append((seen[row["reason"]], -frequency[row["reason"]], row["reason"], row))
        seen[row["reason"]] += 1
    ranked.sort(key=lambda item: item[:3])
    return [item[3] for item in ranked[:count]]


def describe(row: dict[str, str]) -> str:
    """A row of the quarantine as one line, safe to print."""
    # repr: a name may hold line breaks and terminal codes.
    return f"{row['path']!r} - {row['reason']}: {row['detail']}; {row['fix']}"


def stop_on_critical(outcomes: list[Outcome], quarantine: pa.Table, report: str) -> None:
    """End the pipeline when an expectation that must hold does not.

    Raises:
        NadirError: With every critical failure and the three worst examples.
    """
    faults = [o for o in outcomes if not o.passed and o.expectation.severity == "critical"]
    if not faults:
        return
    lines = [fault.text for fault in faults]
    lines += [f"such as {describe(row)}" for row in worst_examples(quarantine)]
    raise NadirError(
        "the dataset does not pass\n  " + "\n  ".join(lines),
        where="validate",
        fix=f"repair or replace the images ({report} shows them), or change the limits in "
        "params.yaml validate",
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
