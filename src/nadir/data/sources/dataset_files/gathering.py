"""From the datasets that a file names to one store; one file for each program that writes them.

Each dataset's place is called `folder/10_words/`, as kohya calls folders: its images are shown ten
times an epoch, and have these words where they have no tags.
"""

from __future__ import annotations

import json
import posixpath
import tomllib
from typing import TYPE_CHECKING

from nadir.data.sources.dataset_files import kohya_toml, simpletuner_json
from nadir.data.sources.stores.gathered import GatheredStore, Part
from nadir.data.sources.stores.local import LocalStore
from nadir.ground.errors import NadirError
from nadir.ground.workspace import expanded, resolve_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from nadir.data.sources.dataset_files.datasets import Dataset, Datasets
    from nadir.data.sources.interfaces import Store

ENDINGS = (".toml", ".json")
"""Endings of files that name datasets."""
_MOST_REPEATS = 1000
_MAX_BYTES = 1 << 20


def gathered(
    path: Path, open_bucket: Callable[[str], Store]
) -> tuple[GatheredStore, tuple[str, ...]]:
    """The datasets that a file names, and what of it is not taken over, one sentence each.

    Args:
        path: The file.
        open_bucket: Gives the store of an `s3://` address.

    Raises:
        NadirError: It is not such a file, or names a folder that does not exist.
    """
    found = _read(path)
    if not found.datasets:
        raise NadirError(
            "the dataset file names no folder of images that can be read"
            + "".join(f"; {text}" for text in _notes(path, found)),
            where=str(path),
            fix="use kohya's dataset TOML, SimpleTuner's backend JSON, or a folder",
        )
    parts: list[Part] = []
    for dataset in found.datasets:
        parts += _parts(dataset, path, {part.prefix for part in parts}, open_bucket)
    return GatheredStore(str(path.resolve()), tuple(parts)), tuple(_notes(path, found))


def _read(path: Path) -> Datasets:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
        if path.suffix.lower() == ".toml":
            return kohya_toml.datasets(tomllib.loads(data.decode("utf-8-sig")))
        return simpletuner_json.datasets(json.loads(data.decode("utf-8-sig")))
    except (OSError, ValueError, RecursionError) as error:
        raise NadirError(
            f"the dataset file cannot be read: {str(error)[:200]}",
            where=str(path),
            fix="correct it, or set ingest.source to a folder with images",
        ) from error


def _parts(
    dataset: Dataset, file: Path, taken: Iterable[str], open_bucket: Callable[[str], Store]
) -> list[Part]:
    if dataset.place.startswith("s3://"):
        store, name = open_bucket(dataset.place), posixpath.basename(dataset.place.rstrip("/"))
    else:
        folder = _found(dataset.place, file, "folder")
        store, name = LocalStore(str(folder.resolve())), folder.resolve().name
    times = min(max(dataset.times, 1), _MOST_REPEATS)
    words = dataset.words.replace("/", " ").strip()
    prefix, number = f"{name}/{times}_{words}/", 1
    while prefix in taken:
        number += 1
        prefix = f"{name}-{number}/{times}_{words}/"
    parts = [Part(prefix, store, dataset.direct, dataset.text, dataset.from_names)]
    if dataset.table:
        table = _found(dataset.table, file, "file").resolve()
        inside = not isinstance(store, LocalStore) or not table.is_relative_to(store.location)
        if inside or (dataset.direct and str(table.parent) != store.location):
            # Named files go first, as their prefix is the folder's.
            parts.insert(0, Part(prefix, LocalStore(str(table.parent), table.name)))
    return parts


def _found(written: str, file: Path, kind: str) -> Path:
    """A path as written, from the dataset file's folder or from the project."""
    for path in (file.parent / expanded(written), resolve_local(written)):
        if path.is_dir() if kind == "folder" else path.is_file():
            return path
    raise NadirError(
        f"the {kind} {written} does not exist",
        where=str(file),
        fix="correct the path; relative ones count from the dataset file's folder",
    )


def _notes(path: Path, found: Datasets) -> Iterable[str]:
    if found.left:
        named = [f"{key} (see {hint})" if hint else key for key, hint in sorted(found.left.items())]
        yield f"not taken over from {path.name}: {', '.join(named)}"
    yield from found.notes
