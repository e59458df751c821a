"""Objects of the stack's S3 store as files named by their hash, and back."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

BUCKETS = ("mlflow", "dvc")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Object:
    """One object.

    Attributes:
        bucket: Its bucket.
        key: Its name there.
        size: Bytes.
        sha256: Of its content, and the name of the file that holds it.
    """

    bucket: str
    key: str
    size: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """For the list of a backup."""
        return asdict(self)


def connect(port: int, values: Mapping[str, str]) -> Any:
    """A client of the store on loopback, with the keys of `.env`."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=values["S3_ACCESS_KEY"],
        aws_secret_access_key=values["S3_SECRET_KEY"],
        region_name="us-east-1",
    )


@contextlib.contextmanager
def store_faults() -> Iterator[None]:
    """Around calls of the store: what it refuses, or that it is away, becomes one clear error.

    Raises:
        NadirError: With what the store or the network said.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise NadirError(
            f"the S3 store does not do it: {error}",
            where="service s3",
            fix="see that the stack runs and that .env is its own, then give the command again",
        ) from error


def keys(api: Any, bucket: str) -> Iterator[str]:
    """Names of a bucket's objects; none where there is no such bucket."""
    if bucket not in {found["Name"] for found in api.list_buckets()["Buckets"]}:
        return
    for page in api.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from (found["Key"] for found in page.get("Contents", []))


def fetch(api: Any, bucket: str, key: str, folder: Path) -> Object:
    """Bring one object into a folder, whatever its name is there."""
    folder.mkdir(exist_ok=True)
    new, hashed, size = folder / "new", hashlib.sha256(), 0
    body = api.get_object(Bucket=bucket, Key=key)["Body"]
    with new.open("wb") as file:
        for chunk in body.iter_chunks(_CHUNK):
            hashed.update(chunk)
            size += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / hashed.hexdigest())
    return Object(bucket, key, size, hashed.hexdigest())


def send_all(api: Any, objects: Sequence[Object], folder: Path) -> None:
    """Put objects where they were; buckets are made.

    Raises:
        NadirError: A bucket holds others, which would be mixed with them.
    """
    for bucket in BUCKETS:
        own = {each.key for each in objects if each.bucket == bucket}
        other = next((key for key in keys(api, bucket) if key not in own), None)
        if other is not None:
            raise NadirError(
                f"the bucket holds an object that the backup has not: {other}",
                where=f"bucket {bucket}",
                fix="restore into an empty stack: one with other stores",
            )
    there = {found["Name"] for found in api.list_buckets()["Buckets"]}
    for bucket in sorted({*BUCKETS} - there):
        api.create_bucket(Bucket=bucket)
    for each in objects:
        api.upload_file(str(folder / each.sha256), each.bucket, each.key)
