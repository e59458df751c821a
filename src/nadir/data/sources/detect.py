"""From a location in `params.yaml` to the source that reads it."""

from __future__ import annotations

import functools
import posixpath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nadir.data.sources.dataset_files.gathering import ENDINGS, gathered
from nadir.data.sources.layouts.registry import BY_NAME
from nadir.data.sources.source import StoredSource
from nadir.data.sources.stores.local import LocalStore
from nadir.data.sources.stores.s3 import S3Store
from nadir.ground.errors import NadirError
from nadir.ground.workspace import resolve_local

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.sources.interfaces import Source, Store

_WHERE = "params.yaml ingest.source"
_FIX = "set it to a folder with images: nadir run --data FOLDER"
_SINGLE = (".tar", ".parquet")


def open_source(
    location: str,
    layout: str,
    *,
    memory: Path | None = None,
    endpoint_url: str | None = None,
    folder_repeats: bool = True,
    mask_folder: str | None = None,
) -> Source:
    """The source at `location`.

    Args:
        location: `ingest.source`: a folder, a `.tar` or `.parquet` file, kohya's dataset TOML,
            SimpleTuner's backend JSON, or `s3://bucket/prefix`; a relative path counts from the
            main workspace.
        layout: `ingest.format`; `auto` detects it.
        memory: Folder for what is known about tars and metadata files.
        endpoint_url: Of an S3 server; None takes boto3's own settings.
        folder_repeats: `ingest.folder_repeats` is `auto`.
        mask_folder: Folder of masks, below the location.

    Raises:
        NadirError: Nothing is there, or it is nothing that can be read.
    """
    if layout not in ("auto", *BY_NAME):
        known = ", ".join(BY_NAME)
        raise NadirError(
            f"unknown layout {layout!r}",
            where="params.yaml ingest.format",
            fix=f"use auto or one of {known}",
        )
    path = None if "://" in location else resolve_local(location)
    if path is not None and path.suffix.lower() in ENDINGS and path.is_file():
        bucket = functools.partial(open_store, endpoint_url=endpoint_url)
        datasets, notes = gathered(path, bucket)
        return StoredSource(datasets, layout, memory, folder_repeats, notes, mask_folder)
    store = open_store(location, endpoint_url=endpoint_url)
    return StoredSource(store, layout, memory, folder_repeats, mask_folder=mask_folder)


def open_store(location: str, *, endpoint_url: str | None = None) -> Store:
    """The files at `location`.

    Raises:
        NadirError: Nothing is there.
    """
    if location.startswith("s3://"):
        return _bucket(location, endpoint_url)
    if "://" in location:
        raise NadirError(
            f"{_shown(location)} is neither a folder nor s3://",
            where=_WHERE,
            fix="use a local folder or s3://bucket/prefix",
        )
    path = resolve_local(location)
    if not path.exists():
        raise NadirError(f"the folder {path} does not exist", where=_WHERE, fix=_FIX)
    if path.is_dir():
        return LocalStore(str(path.resolve()))
    if path.suffix.lower() in _SINGLE and path.is_file():
        return LocalStore(str(path.parent.resolve()), path.name)
    raise NadirError(f"{path} is a file, not a folder", where=_WHERE, fix=_FIX)


def _bucket(location: str, endpoint_url: str | None) -> S3Store:
    if endpoint_url is not None and "@" in urlsplit(endpoint_url).netloc:
        # Not quoted: it would be in every log.
        raise NadirError(
            "the address holds a user name or password",
            where="params.yaml ingest.endpoint_url",
            fix="take them out; credentials come from the environment (AWS_ACCESS_KEY_ID ...)",
        )
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    if not bucket or "@" in bucket:
        raise NadirError("the address names no bucket", where=_WHERE, fix="use s3://bucket/prefix")
    if prefix.lower().endswith(_SINGLE):
        folder, name = posixpath.split(prefix)
        return S3Store(bucket, f"{folder}/" if folder else "", endpoint_url, name)
    prefix = prefix.strip("/")
    return S3Store(bucket, f"{prefix}/" if prefix else "", endpoint_url)


def _shown(location: str) -> str:
    """An address without what stands before an @ in it."""
    scheme, _, rest = location.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
