"""What one worker computed, fetched by another: outputs and DVC's notes over DVC's remote.

DVC notes for each stage that ran which inputs made which outputs (its run cache). Where these notes
and the outputs are in the remote, a second worker takes them from there instead of computing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.config.reader import read_section
from nadir.config.register import RegisterParams
from nadir.ground.errors import NadirError
from nadir.ground.workspace import PARAMS_FILE
from nadir.pipeline.graph import open_repository
from nadir.pipeline.storage.cache import cached_whole
from nadir.pipeline.storage.objects import cache_folder, objects_of
from nadir.pipeline.storage.remote import default_remote, fetch, first_line, send
from nadir.tracking.lock_file import output_hashes, read_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dvc.repo import Repo


class Elsewhere:
    """What other workers have left in DVC's remote, for one run of the pipeline.

    Args:
        root: The project's root.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._has_notes: bool | None = None

    def bring(self, stage: str, say: Callable[[str], None]) -> None:
        """Have the cache hold a stage's outputs, if some worker made them of these inputs.

        DVC restores them then by itself. Whatever cannot be had is computed.

        Args:
            stage: Its name; all that it depends on is as it will be when it runs.
            say: Called with what is fetched, and with why nothing can be.
        """
        if self._has_notes is None:
            self._has_notes = shares_all(self._root) and self._bring_notes(say)
        if not self._has_notes:
            return
        cache = cache_folder(self._root)
        noted = _outputs_noted(self._root, stage)
        lacking = [md5 for md5 in noted if not cached_whole(md5, cache)]
        for md5 in lacking:
            fetch(md5, self._root, cache)
        if lacking and all(cached_whole(md5, cache) for md5 in lacking):
            say(f"{stage}: another worker's result, from DVC's remote")

    def _bring_notes(self, say: Callable[[str], None]) -> bool:
        remote = default_remote(self._root)
        if remote is None or remote.own:
            return False
        try:
            with open_repository(self._root) as repo:
                _copy_notes(repo, there=False)
        except Exception as error:  # noqa: BLE001 - of whatever store it is
            say(
                f"warning: what other workers computed cannot be fetched from {remote.url}: "
                f"{first_line(error)}\n  fix: see that it can be reached; until then it is "
                "computed here"
            )
            return False
        return True


def shares_all(root: Path) -> bool:
    """Whether `register.share` says that other workers are to take over what one has computed."""
    return read_section("register", RegisterParams, root / PARAMS_FILE).share == "everything"


def send_all(root: Path, say: Callable[[str], None]) -> bool:
    """Send the workspace's outputs and DVC's notes on them to the remote.

    Args:
        root: The project's root.
        say: Called with what is sent, and what could not be.

    Returns:
        Whether nothing is left to send.
    """
    remote = default_remote(root)
    if remote is None or remote.own:
        return True
    cache = cache_folder(root)
    objects: set[str] = set()
    for md5 in output_hashes(read_lock(root)).values():
        if cached_whole(md5, cache):
            objects |= set((objects_of(md5, cache) or {}).values())
    try:
        send(objects, root)
        # Last: who finds a note finds its outputs, too.
        with open_repository(root) as repo:
            _copy_notes(repo, there=True)
    except Exception as error:  # noqa: BLE001 - of whatever store it is
        what = error.what if isinstance(error, NadirError) else first_line(error)
        say(
            f"register: what other workers could take over was not sent to {remote.url}: {what}\n"
            "  fix: correct that, then `nadir run` sends it"
        )
        return False
    say(f"register: DVC's remote `{remote.name}` has all outputs, for other workers")
    return True


def _copy_notes(repo: Repo, *, there: bool) -> None:
    remote = repo.cloud.get_remote_odb(None, "push" if there else "fetch", hash_name="md5-dos2unix")
    own = repo.cache.legacy  # where DVC keeps its notes
    # Not again what is there: a note is never changed.
    repo.stage_cache.transfer(*((own, remote) if there else (remote, own)), force=False)


def _outputs_noted(root: Path, stage: str) -> list[str]:
    """DVC's hashes of the outputs that the stage's present inputs made; none if nobody noted it."""
    with open_repository(root) as repo:
        asked: Any = repo.stage.load_one(str(root / "dvc.yaml"), stage)
        asked.save_deps()
        found = repo.stage_cache._load(asked)  # noqa: SLF001 - the question `dvc repro` asks first
    return [out["md5"] for out in (found or {}).get("outs", []) if "md5" in out]
