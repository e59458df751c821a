"""Objects below a prefix of an S3 bucket.

An object's version is its ETag, which comes with the listing, 1,000 objects a request. Every read
of more than one piece asks for that ETag again, so pieces of two versions never mix.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from nadir.data.paths import is_hidden
from nadir.data.sources.columns import file_table
from nadir.data.sources.interfaces import Content, FileChangedError, Files
from nadir.data.sources.stores.s3_client import error_code, listing_error, object_error, s3_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

LARGE_BYTES = 8 << 20
"""From this size on an object is fetched in parallel pieces, by boto3's transfer manager."""
_BLOCK_BYTES = 1 << 20
_TRIES = 3
_TRUST_S = 60.0
# What HEAD said, by store and path: rows and members of one file would each ask again.
_seen: dict[tuple[S3Store, str], tuple[float, int, str]] = {}


@dataclass(frozen=True)
class S3Store:
    """A prefix of a bucket; holds no credentials.

    Args:
        bucket: Its name.
        prefix: Empty, or ending in "/".
        endpoint_url: Of a server other than the environment's; no credentials in it.
        only: The one object below the prefix that counts; empty for all.
    """

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    only: str = ""

    @property
    def location(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def remote(self) -> bool:
        """True."""
        return True

    def list_files(self) -> Files:
        """Every visible object, page by page.

        Raises:
            NadirError: The bucket cannot be listed.
        """
        ignored: Counter[str] = Counter()
        try:
            table = file_table(self._objects(ignored))
        except Exception as error:
            if not _is_boto(error):
                raise
            # Without its cause: a traceback shows what was sent.
            raise listing_error(error, self.bucket) from None
        return Files(table, ignored)

    def stat(self, path: str) -> tuple[int, str]:
        """Size (bytes) and ETag; asked for anew once a minute.

        Raises:
            OSError: The object is gone.
        """
        known = _seen.get((self, path))
        if known is None or time.monotonic() - known[0] > _TRUST_S:
            head = self._ask(lambda: self._client.head_object(**self._name(path)))
            self._remember(path, head["ContentLength"], _etag(head))
            known = _seen[self, path]
        return known[1], known[2]

    def read(self, path: str, limit: int) -> Content:
        """The first `limit` bytes.

        Raises:
            OSError: It cannot be read.
        """
        return self._ask(lambda: self._read_once(path, limit))

    def read_range(self, path: str, start: int, length: int) -> Content:
        """`length` bytes from byte `start` on, with the version they are of.

        Raises:
            OSError: It cannot be read.
        """
        return self._ask(lambda: self.range_once(path, start, length, None))

    def range_once(self, path: str, start: int, length: int, version: str | None) -> Content:
        """One request for a range, if the object still has that version."""
        if length <= 0:
            return Content(b"", version or self.stat(path)[1])
        condition = {} if version is None else {"IfMatch": f'"{version}"'}
        wanted = f"bytes={start}-{start + length - 1}"
        response = self._client.get_object(**self._name(path), Range=wanted, **condition)
        with closing(response["Body"]) as body:
            return Content(body.read(), _etag(response))

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        """A seekable stream that fetches a megabyte at a time.

        Raises:
            FileChangedError: It has another version.
            OSError: It cannot be read.
        """
        size, now = self.stat(path)
        if version is not None and now != version:
            raise FileChangedError(0, "the object has changed since it was listed")
        raw = _RangedObject(self, path, size, now)
        return cast("BinaryIO", io.BufferedReader(raw, _BLOCK_BYTES))

    @property
    def _client(self) -> Any:
        return s3_client(self.endpoint_url)

    def _name(self, path: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + path}

    def _objects(self, ignored: Counter[str]) -> Iterator[tuple[str, int, str]]:
        pages = self._client.get_paginator("list_objects_v2")
        wanted = self.prefix + self.only
        for page in pages.paginate(Bucket=self.bucket, Prefix=wanted):
            for entry in page.get("Contents", ()):
                path = entry["Key"][len(self.prefix) :]
                if not path or path.endswith("/") or (self.only and path != self.only):
                    continue
                *folders, name = path.split("/")
                if is_hidden(name) or any(is_hidden(each, folder=True) for each in folders):
                    ignored["hidden"] += 1
                    continue
                _seen.pop((self, path), None)
                yield path, entry["Size"], _etag(entry)

    def _read_once(self, path: str, limit: int) -> Content:
        response = self._client.get_object(**self._name(path))
        size, version = response["ContentLength"], _etag(response)
        with closing(response["Body"]) as body:
            if size <= min(limit, LARGE_BYTES):
                return Content(body.read(), version)
            if limit <= LARGE_BYTES:
                return Content(body.read(limit), version)
        if size > limit:
            return self.range_once(path, 0, limit, version)
        return self._transfer(path, version)

    def _transfer(self, path: str, version: str) -> Content:
        from boto3.s3.transfer import TransferConfig

        buffer = io.BytesIO()
        config = TransferConfig(multipart_threshold=LARGE_BYTES, multipart_chunksize=LARGE_BYTES)
        self._client.download_fileobj(**self._name(path), Fileobj=buffer, Config=config)
        if _etag(self._client.head_object(**self._name(path))) != version:
            raise FileChangedError(0, "the object has changed while it was read")
        return Content(buffer.getvalue(), version)

    def _ask(self, request: Callable[[], T]) -> T:
        """A request's answer; boto3 retries requests, this retries bodies that break off."""
        from botocore import exceptions as boto

        broken = (boto.IncompleteReadError, boto.ResponseStreamingError, boto.ReadTimeoutError)
        for left in reversed(range(_TRIES)):
            try:
                return request()
            except Exception as error:
                if isinstance(error, broken) and left:
                    continue
                if not _is_boto(error):
                    raise
                if error_code(error) == "PreconditionFailed":
                    changed = "the object has changed since it was listed"
                    raise FileChangedError(0, changed) from None
                raise object_error(error, self.bucket) from None
        raise AssertionError  # the last try returns or raises

    def _remember(self, path: str, size: int, version: str) -> None:
        if len(_seen) > 4096:
            _seen.clear()
        _seen[self, path] = (time.monotonic(), size, version)


class _RangedObject(io.RawIOBase):
    """One version of an object as a seekable file."""

    def __init__(self, store: S3Store, path: str, size: int, version: str) -> None:
        self._store, self._path, self._size, self._version = store, path, size, version
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        store, at = self._store, self._at
        data = store._ask(  # noqa: SLF001 - a part of the store
            lambda: store.range_once(self._path, at, count, self._version)
        ).data
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _etag(answer: dict[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _is_boto(error: Exception) -> bool:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, BotoCoreError | ClientError | Boto3Error)
