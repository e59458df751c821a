"""`make backup` and `make restore`: the stack's databases and its bucket as one folder, and back.

python -m nadir.pipeline.servers.stack.backup [--docker] [--port NAME=NUMBER ...] FOLDER
python -m nadir.pipeline.servers.stack.backup --restore … FOLDER
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.files import file_hash, read_json_object, write_json
from nadir.ground.workspace import project_root
from nadir.pipeline.servers.stack import objects
from nadir.pipeline.servers.stack.databases import DATABASES, Databases
from nadir.pipeline.servers.stack.native import chosen_ports
from nadir.pipeline.servers.stack.settings import SECRETS_FILE, read_services, read_variables

if TYPE_CHECKING:
    from collections.abc import Callable

_LIST = "backup.json"
_OBJECTS = "objects"
_FORMAT = 1


@dataclass(frozen=True)
class Stores:
    """What is kept: the databases, and the client of the S3 store."""

    databases: Databases
    s3: Any


def back_up(stores: Stores, folder: Path, say: Callable[[str], None]) -> None:
    """Write a new backup; the stack may run meanwhile.

    Databases come first, so that every artifact that they name is among the objects.

    Args:
        stores: Of the stack.
        folder: Where; nothing may lie there. It is there when the backup is whole.
        say: Called with what was written.

    Raises:
        NadirError: Something lies there, or a store refused.
    """
    if folder.exists():
        raise NadirError("something lies there", where=str(folder), fix="name a folder that is new")
    new = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700, parents=True)
    dumps = {}
    for name in DATABASES:
        stores.databases.dump(name, new / f"{name}.dump")
        dumps[name] = file_hash(new / f"{name}.dump")
    found = [
        objects.fetch(stores.s3, bucket, key, new / _OBJECTS)
        for bucket in objects.BUCKETS
        for key in objects.keys(stores.s3, bucket)
    ]
    facts = {
        "format": _FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "postgres": stores.databases.version(),
        "databases": dumps,
        "objects": [each.as_dict() for each in found],
    }
    write_json(new / _LIST, facts)
    new.rename(folder)
    size = sum(each.size for each in found)
    say(f"{folder}: {len(dumps)} databases, {len(found)} objects ({size:,} bytes)")


def restore(stores: Stores, folder: Path, say: Callable[[str], None]) -> None:
    """Fill empty stores from a backup, all of which is compared with its hashes before.

    Args:
        stores: Of a stack whose MLflow and Prefect have never run.
        folder: The backup.
        say: Called with what was restored.

    Raises:
        NadirError: It is no backup, is damaged, or the stores are not empty.
    """
    facts = read_json_object(folder / _LIST) if (folder / _LIST).is_file() else {}
    if facts.get("format") != _FORMAT:
        raise NadirError(
            "this is no backup", where=str(folder), fix="name a folder that `make backup` has made"
        )
    found = [objects.Object(**each) for each in facts["objects"]]
    _require_whole(folder, facts["databases"], found)
    for name in facts["databases"]:
        if stores.databases.tables(name):
            raise NadirError(
                "the database is not empty",
                where=f"database {name}",
                fix="restore into new stores, of which only `postgres` and `s3-buckets` were "
                "started",
            )
    objects.send_all(stores.s3, found, folder / _OBJECTS)
    for name in facts["databases"]:
        stores.databases.restore(name, folder / f"{name}.dump")
    say(f"restored {len(facts['databases'])} databases and {len(found)} objects")


def _require_whole(folder: Path, dumps: dict[str, str], found: list[objects.Object]) -> None:
    expected = {folder / f"{name}.dump": sha256 for name, sha256 in dumps.items()}
    expected |= {folder / _OBJECTS / each.sha256: each.sha256 for each in found}
    for path, sha256 in expected.items():
        if not path.is_file() or file_hash(path) != sha256:
            raise NadirError(
                "the file is missing or damaged, and nothing was restored",
                where=str(path),
                fix="take another backup",
            )


def _stores(ports: dict[str, int], *, docker: bool) -> Stores:
    root = project_root()
    values = read_variables(root / SECRETS_FILE)
    own = read_services(root, values)["postgres"].environment
    password = {"PGPASSWORD": own["POSTGRES_PASSWORD"]}
    server = {"PGHOST": "127.0.0.1", "PGPORT": str(ports["postgres"]), **password}
    databases = Databases(root, own["POSTGRES_USER"], None if docker else server)
    return Stores(databases, objects.connect(ports["s3"], values))


def main() -> None:
    """Back up or restore, as the command line says."""
    parser = argparse.ArgumentParser(prog="make backup", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--restore", action="store_true", help="fill empty stores from the folder")
    parser.add_argument("--docker", action="store_true", help="Postgres runs in its container")
    parser.add_argument("--port", action="append", default=[], metavar="NAME=NUMBER")
    asked = parser.parse_args()
    work = restore if asked.restore else back_up
    try:
        stores = _stores(chosen_ports(asked.port), docker=asked.docker)
        with objects.store_faults():
            work(stores, asked.folder.absolute(), _say)
    except NadirError as error:
        raise SystemExit(f"error: {error}") from None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
