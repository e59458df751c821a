"""Which layout a source has, told from its files."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, get_args

import pyarrow.compute as pc

from nadir.config.ingest import Layout
from nadir.data.sources.cells import image_cells
from nadir.data.sources.columns import images_of, matching
from nadir.data.sources.documents import read_documents
from nadir.data.sources.metadata import METADATA_NAMES
from nadir.data.sources.parquet_files import open_table, parsing
from nadir.data.sources.sidecars import PACKED_TAR_NAME, TAR_NAME
from nadir.data.tags_text import class_of_key
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    import pyarrow as pa

    from nadir.data.sources.base import Store

LAYOUTS = tuple(name for name in get_args(Layout) if name != "auto")
"""Every layout, by the names of `ingest.format`."""

_POSTS = r"(?is)(?:^|/)posts[^/]*\.(?:jsonl|ndjson|json|csv|parquet)$"
_LINES = r"(?is)\.(?:jsonl|ndjson)$"
_SNIFFED = 8


def detect(files: pa.Table, store: Store) -> list[str]:
    """The layouts that the files speak for, the best first; never empty.

    Opens at most a few metadata files, and of those the beginning only.

    Args:
        files: Of schema `FILES`.
        store: Where they lie.
    """
    found = []
    if _any(files, METADATA_NAMES["imagefolder"]):
        found.append("imagefolder")
    if _any(files, _POSTS) or "booru" in _inside(files, store, _LINES):
        found.append("booru")
    if _any(files, METADATA_NAMES["kohya"]):
        found.append("kohya")
    if not found:
        kinds = _inside(files, store, METADATA_NAMES["parquet"])
        found += [name for name in ("booru", "parquet") if name in kinds]
    tars = _any(files, TAR_NAME) or _any(files, PACKED_TAR_NAME)
    if images_of(files).num_rows:
        # Tars beside loose images are more often backups than the dataset.
        return [*(found or ["folder"]), *(["webdataset"] if tars else [])]
    return [*found, *(["webdataset"] if tars else [])] or ["folder"]


def _any(files: pa.Table, pattern: str) -> bool:
    return bool(pc.any(matching(files, pattern)).as_py())


def _inside(files: pa.Table, store: Store, pattern: str) -> set[str]:
    """What the first files of that name look like inside."""
    named = files.filter(matching(files, pattern)).column("path").to_pylist()
    return {_looks_like(store, path) for path in named[:_SNIFFED]}


def _looks_like(store: Store, path: str) -> str:
    try:
        with store.open(path) as file:
            if path.lower().endswith(".parquet"):
                table = open_table(file)
                with parsing():
                    keys = set(table.schema_arrow.names)
                    embedded = image_cells(table.schema_arrow) is not None
            else:
                first = next(itertools.islice(read_documents(file, path), 1), (None, None))
                keys, embedded = set(first[0] or ()), False
    except (OSError, NadirError):
        return ""
    lower = {str(key).lower() for key in keys}
    if any(key.startswith("tag_string") for key in lower) or {"md5", "tags"} <= lower:
        return "booru"
    named = lower & {"file_name", "filename", "path", "image", "image_path", "file_path"}
    told = lower & {"tags", "text", "caption"} or any(class_of_key(key) for key in lower)
    return "parquet" if embedded or (named and told) else ""
