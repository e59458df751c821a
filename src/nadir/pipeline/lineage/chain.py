"""From a version back to the pictures: run, parameters, code, latents, manifest, listing, source.

Facts come from the version's tags, the `dvc.lock` of its commit, and DVC's cache. What cannot be
found is named, and the rest of the chain is told all the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json_object
from nadir.ground.secrets import masked_tree
from nadir.ground.workspace import PARAMS_FILE
from nadir.pipeline.lineage.locks import (
    NotFoundError,
    VersionLock,
    columns_of,
    commits_of,
    file_of_folder,
    manifest_md5,
    object_file,
    version_lock,
)
from nadir.pipeline.storage.cache import weights_place
from nadir.pipeline.storage.objects import cache_folder
from nadir.tracking.registry.versions import resolve_version
from nadir.tracking.revision import GitError, git, has_commit
from nadir.tracking.store.connection import connect, missing_is_none, store_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nadir.tracking.registry.versions import Version

_REQUIREMENTS = "requirements.lock"
_INDEX = "index.parquet"

Facts = dict[str, Any]


@dataclass(frozen=True)
class Chain:
    """What made a version.

    Attributes:
        links: Facts by link, from the version to the source; a link of which nothing is known is
            empty.
        missing: What could not be found, and why.
    """

    links: dict[str, Facts] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def _weights(version: Version, root: Path) -> str:
    return weights_place(version.md5, root, held=bool(version.held)) if version.md5 else "missing"


def lineage_of(uri: str, root: Path) -> Chain:
    """The chain of a version.

    Args:
        uri: Such as `models:/nadir@champion`.
        root: The project's root.

    Raises:
        NadirError: No such version, or the registry cannot be asked.
    """
    version = resolve_version(uri, root)
    chain = Chain()
    cache = cache_folder(root)
    lock = None
    try:
        lock = version_lock(version, root)
    except NotFoundError as error:
        chain.missing.append(str(error))
    reading = _Reading(version, lock or VersionLock({}, "no lock file"), root, cache)
    for name, link in reading.links(told=lock is not None).items():
        facts: Facts = {}
        chain.links[name] = facts
        try:
            link(facts)
        except NotFoundError as error:
            chain.missing.append(str(error))
        chain.links[name] = masked_tree({k: v for k, v in facts.items() if v not in ("", None)})
    return chain


@dataclass(frozen=True)
class _Reading:
    """Reads one link after the other; each adds its facts until something is not there."""

    version: Version
    lock: VersionLock
    root: Path
    cache: Path

    def links(self, *, told: bool) -> Mapping[str, Callable[[Facts], None]]:
        """The links in their order; of the data nothing is known without a lock file."""
        made = {
            "version": self.registered,
            "run": self.run,
            "parameters": self.parameters,
            "code": self.code,
            "environment": self.environment,
            "base_model": self.base_model,
            "latents": self.latents,
        }
        data = {"manifest": self.manifest, "listing": self.listing, "source": self.source}
        return {**made, **(data if told else {})}

    def registered(self, facts: Facts) -> None:
        version = self.version
        facts |= {"name": version.name, "version": version.version, "aliases": version.aliases}
        facts |= {"created": iso(version.created_ms), "weights_md5": version.md5}
        try:
            facts["weights"] = _weights(version, self.root)
        except NadirError as error:
            raise NotFoundError(f"weights: {error.what}") from error
        if facts["weights"] == "missing":
            raise NotFoundError(
                f"weights: {version.md5 or 'no hash'} is neither in DVC's cache nor in its remote"
            )

    def run(self, facts: Facts) -> None:
        facts |= {"id": self.version.run_id}
        facts["flow_run"] = self.version.tags.get("prefect.flow_run_id")
        run = None
        with store_faults(self.root), missing_is_none():
            run = connect(self.root).get_run(self.version.run_id) if self.version.run_id else None
        if run is None:
            raise NotFoundError(f"run: the store has no run {self.version.run_id or 'of it'}")
        facts |= {"name": run.info.run_name, "status": run.info.status}
        facts |= {"start": iso(run.info.start_time), "end": iso(run.info.end_time)}
        facts |= {"pipeline_run": run.data.tags.get("mlflow.parentRunId")}
        facts |= {"gate": run.data.tags.get("nadir.gate")}

    def parameters(self, facts: Facts) -> None:
        facts["sha256"] = self.version.tags.get("params.sha256")
        facts |= {"train": self.lock.params("train") or None}
        facts["in"] = self._in_commit(PARAMS_FILE)[0]

    def code(self, facts: Facts) -> None:
        tags = self.version.tags
        facts |= {"commit": tags.get("git.commit"), "dirty": tags.get("git.dirty") == "true"}
        facts |= {"experiment": tags.get("dvc.exp_name"), "revision": tags.get("dvc.exp_rev")}
        facts |= {"fault": tags.get("git.fault"), "sent_to": tags.get("nadir.commit_at")}
        for commit in commits_of(self.version):
            if not has_commit(self.root, commit):
                where = tags.get("nadir.commit_at")
                hint = f"; it was sent to {where}" if where else ""
                raise NotFoundError(f"code: commit {commit[:12]} is not in this clone{hint}")
        if not commits_of(self.version):
            raise NotFoundError(f"code: {tags.get('git.fault') or 'the version names no commit'}")
        if facts["dirty"] and not facts["revision"]:
            raise NotFoundError("code: it differed from the commit, and no experiment holds it")

    def environment(self, facts: Facts) -> None:
        facts["lock_sha256"] = self.version.tags.get("env.lock_sha256")
        facts["in"], text = self._in_commit(_REQUIREMENTS)
        packages = [line for line in text.splitlines() if "==" in line and line[:1] not in " #"]
        facts["packages"] = len(packages) or None

    def base_model(self, facts: Facts) -> None:
        facts["revision"] = self.version.tags.get("base_model.revision")
        self._output(facts, artifacts.BASE, "train")

    def latents(self, facts: Facts) -> None:
        md5 = self._output(facts, artifacts.LATENTS, "train") or self.version.tags.get("data.md5")
        facts["md5"] = md5
        if md5 is None:
            raise NotFoundError("latents: neither a lock file nor a tag names them")
        index = file_of_folder("latents", md5, _INDEX, self.cache)
        table = columns_of("latents", index, "sha256")
        facts |= {"latents": table.num_rows}
        if "sha256" in table.column_names:
            facts |= {"images": len(table["sha256"].unique())}

    def manifest(self, facts: Facts) -> None:
        facts["md5"] = md5 = manifest_md5(self.lock)
        facts |= self.lock.size(md5)
        path = object_file("manifest", md5, self.root, self.cache)
        splits = columns_of("manifest", path, "split")["split"].value_counts().to_pylist()
        counts = {entry["values"]: entry["counts"] for entry in splits}
        facts |= {"images": sum(counts.values()), **dict(sorted(counts.items(), reverse=True))}

    def listing(self, facts: Facts) -> None:
        md5 = self._output(facts, artifacts.LISTING, "validate", "encode")
        if md5 is None:
            raise NotFoundError(f"listing: {self.lock.place} names no {artifacts.LISTING}")
        path = object_file("listing", md5, self.root, self.cache)
        facts["images"] = pq.read_metadata(path).num_rows
        rejected = self.lock.md5(artifacts.QUARANTINE)
        if rejected is not None:
            table = object_file("quarantine", rejected, self.root, self.cache)
            reasons = columns_of("quarantine", table, "reason")["reason"].to_pylist()
            facts["quarantined"] = dict(Counter(reasons).most_common())

    def source(self, facts: Facts) -> None:
        facts |= {"place": self.lock.params("ingest").get("ingest", {}).get("source")}
        md5 = self._output(facts, artifacts.SOURCE_FORMAT, "validate")
        if md5 is not None:
            facts["md5"] = md5
            path = object_file("source", md5, self.root, self.cache)
            facts["layout"] = read_json_object(path).get("format")

    def _output(self, facts: Facts, path: Path, *users: str) -> str | None:
        md5 = self.lock.md5(path, *users)
        facts["md5"] = md5
        facts |= self.lock.size(md5)
        return md5

    def _in_commit(self, name: str) -> tuple[str | None, str]:
        """Which of the version's commits has a file, and its text."""
        for commit in commits_of(self.version):
            try:
                return commit, git(self.root, "show", f"{commit}:./{name}")
            except GitError:
                continue
        return None, ""


def iso(milliseconds: int | None) -> str | None:
    """MLflow's time as ISO 8601 in UTC."""
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
