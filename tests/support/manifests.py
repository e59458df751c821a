"""Manifests for tests that need rows, not pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nadir.data.tables import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable


def manifest_table(images: Iterable[dict[str, Any]]) -> pa.Table:
    """A manifest of these images, counted up; columns that a row leaves out get a plain value."""
    rows = [
        {
            "sha256": f"{number:064x}",
            "path": f"{number}.png",
            "width": 80,
            "height": 80,
            "format": "png",
            "split": "train",
            "tags": [],
            "mean_luminance": 0.5,
            "perceptual_hash": "0" * 16,
            "record_id": str(number),
            **image,
        }
        for number, image in enumerate(images)
    ]
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def tag_list(tags: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """(name, class) pairs in the form of the manifest's `tags` column."""
    return [{"name": name, "class": tag_class} for name, tag_class in tags]
