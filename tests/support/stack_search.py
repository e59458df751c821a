"""Looks for texts in everything that a stack and its project keep."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from nadir.pipeline.servers.stack import objects
from nadir.pipeline.servers.stack.databases import DATABASES
from nadir.pipeline.servers.stack.postgres import program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.stack import RunningStack


def holders(stack: RunningStack, texts: Mapping[str, str]) -> set[tuple[str, str]]:
    """Name of each text and the place that holds it.

    Searched are: the project with its work folders (not `.env`), what the servers said and keep
    beside their stores, every database as SQL, and every object of the S3 store.
    """
    return {
        (name, place)
        for place, content in _kept(stack)
        for name, text in texts.items()
        if text.encode() in content
    }


def _kept(stack: RunningStack) -> Iterator[tuple[str, bytes]]:
    yield from _files(stack.project.root, leave_out={".env"})
    yield from _files(stack.state / "scratch", leave_out=set())
    yield "the servers' output", stack.log.read_bytes()
    for name in DATABASES:
        yield f"database {name}", _sql(stack, name)
    api = objects.connect(stack.ports["s3"], stack.secrets)
    for bucket in objects.BUCKETS:
        for key in objects.keys(api, bucket):
            yield f"{bucket}/{key}", api.get_object(Bucket=bucket, Key=key)["Body"].read()


def _files(folder: Path, leave_out: set[str]) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name not in leave_out:
            yield str(path.relative_to(folder)), path.read_bytes()


def _sql(stack: RunningStack, name: str) -> bytes:
    command = [program("pg_dump"), "--dbname", name]
    environment = {**os.environ, **stack.postgres}
    return subprocess.run(command, env=environment, capture_output=True, check=True).stdout
