"""DVC's remote: what it holds of a checkpoint, and bringing that here or there by hash."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.workspace import main_workspace
from nadir.pipeline.processes.process import require_user_name
from nadir.pipeline.storage.objects import damaged_objects, object_path, objects_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Remote:
    """DVC's default remote.

    Attributes:
        name: As `dvc remote list` shows it.
        url: Where it is, without credentials.
        own: Whether it is a folder of this clone, which no other machine reaches.
    """

    name: str
    url: str
    own: bool


def default_remote(root: Path) -> Remote | None:
    """The remote that DVC uses when none is named; None where none is configured."""
    from dvc.repo import Repo

    require_user_name()
    with Repo(str(root)) as repo:
        name = repo.config["core"].get("remote")
        if not name or name not in repo.config["remote"]:
            return None
        url = str(repo.config["remote"][name].get("url", ""))
    own = "://" not in url and _is_inside(url, main_workspace(root))
    return Remote(str(name), without_credentials(url), own)


def without_credentials(url: str) -> str:
    """A URL as it may be shown and kept: no user, no password, no query."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def fetch(md5: str, root: Path, cache: Path) -> None:
    """Have DVC bring what the cache lacks of an output, as far as its remote has it.

    Whatever the reason for which something cannot be had: it then is not in the cache. What
    arrives damaged is removed again.
    """
    with _remote(root) as (repo, odb), contextlib.suppress(Exception):
        if odb is not None:
            _bring(repo, odb, [md5], cache)
            _bring(repo, odb, (objects_of(md5, cache) or {}).values(), cache)
    for path in damaged_objects((objects_of(md5, cache) or {md5: md5}).values(), cache):
        path.unlink()


def remote_holds(md5: str, root: Path, cache: Path) -> bool:
    """Whether the remote has a whole output; its list of files is fetched for the answer.

    Raises:
        NadirError: The remote cannot be asked.
    """
    try:
        with _remote(root) as (repo, odb):
            if odb is None:
                return False
            if not object_path(md5, cache).is_file() and odb.exists(md5):
                _transfer(repo, odb, repo.cache.local, [md5])
            wanted = objects_of(md5, cache)
            return wanted is not None and set(odb.oids_exist([*set(wanted.values())])) >= {
                *wanted.values()
            }
    except Exception as error:
        raise NadirError(
            f"DVC's remote cannot be asked for the weights: {first_line(error)}",
            where="dvc remote list",
            fix="see that it can be reached with these credentials, then try again",
        ) from error


def send(md5s: Iterable[str], root: Path) -> None:
    """Send objects of the cache to the default remote, which then has each of them.

    Raises:
        NadirError: The remote refuses them or cannot be reached.
    """
    wanted = sorted(set(md5s))
    try:
        with _remote(root) as (repo, odb):
            _transfer(repo, repo.cache.local, odb, wanted)
            lacking = set(wanted) - set(odb.oids_exist(wanted))
    except Exception as error:
        raise NadirError(first_line(error)) from error
    if lacking:
        raise NadirError(f"{len(lacking)} of {len(wanted)} files did not arrive")


@contextlib.contextmanager
def _remote(root: Path) -> Iterator[tuple[Any, Any]]:
    """DVC's repository, and the store behind its default remote; None where there is none."""
    from dvc.config import NoRemoteError, RemoteConfigError
    from dvc.repo import Repo

    require_user_name()
    with Repo(str(root)) as repo:
        odb = None
        with contextlib.suppress(NoRemoteError, RemoteConfigError):
            odb = repo.cloud.get_remote_odb(None, "fetch")
        yield repo, odb


def _bring(repo: Any, odb: Any, md5s: Iterable[str], cache: Path) -> None:
    missing = [md5 for md5 in md5s if not object_path(md5, cache).is_file()]
    if missing:
        _transfer(repo, odb, repo.cache.local, missing)


def _transfer(repo: Any, source: Any, target: Any, md5s: Iterable[str]) -> None:
    """Copy objects without DVC's notes on what a remote holds, which may be out of date."""
    from dvc_data.hashfile.hash_info import HashInfo

    objects = [HashInfo("md5", md5) for md5 in md5s]
    repo.cloud.transfer(source, target, objects, cache_odb=repo.cache.local)


def _is_inside(url: str, folder: Path) -> bool:
    from pathlib import Path

    return Path(url).resolve().is_relative_to(folder.resolve())


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
