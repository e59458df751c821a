"""Whether a version may become the champion: what the gate and the comparison said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.tracking.registry.judgements import REASON_TAG, VERDICT_TAG, require_judged
from nadir.tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    PRUNING_TAG,
    Version,
    alias_table,
    model_name,
    resolve_version,
)
from nadir.tracking.store.connection import connect, missing_is_none, store_faults
from nadir.tracking.store.patience import is_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run

_REPORT, _JUDGEMENT = "evaluation.html", "judgement/judgement.html"


@dataclass(frozen=True)
class Examined:
    """A version and what stands against its promotion.

    Attributes:
        candidate: The version.
        champion: Number of the live one; None where none is.
        report: Where the page of the comparison, else of its own evaluation, is.
        refusal: Why it may not be promoted; None where it may.
    """

    candidate: Version
    champion: int | None
    report: str
    refusal: NadirError | None

    @property
    def is_live(self) -> bool:
        """Whether it is the champion already."""
        return self.champion == self.candidate.version

    @property
    def verdict(self) -> str:
        """What the comparison with the champion said."""
        return self.candidate.tags.get(VERDICT_TAG, "never judged")

    @property
    def reason(self) -> str:
        """Why it said so; of a version that may not be promoted, why not."""
        return self.refusal.what if self.refusal else self.candidate.tags.get(REASON_TAG, "")


@store_faults()
def examine(root: Path, *, version: int | None) -> Examined:
    """Look at a version, and change nothing.

    Args:
        root: The project's root.
        version: Its number; None is the challenger.

    Raises:
        NadirError: No such version, no challenger, or the store refuses.
    """
    name, client = model_name(root), connect(root)
    aliases = alias_table(client, name)
    candidate = named_candidate(client, root, name, version, aliases)
    refusal = None
    if aliases.get(CHAMPION) != str(candidate.version):
        try:
            require_won(client, root, candidate, aliases)
        except NadirError as error:
            refusal = error
    live = aliases.get(CHAMPION)
    report = _best_report(client, candidate)
    return Examined(candidate, int(live) if live else None, report, refusal)


def named_candidate(
    client: MlflowClient, root: Path, name: str, version: int | None, aliases: Mapping[str, str]
) -> Version:
    """The version of a number, or the challenger.

    Raises:
        NadirError: There is none, or it is being removed.
    """
    number = str(version) if version is not None else aliases.get(CHALLENGER)
    if number is None:
        raise NadirError(
            f"`{name}` has no challenger",
            where=client.tracking_uri,
            fix="`nadir run` registers one, or name a version",
        )
    candidate = resolve_version(f"models:/{name}/{number}", root)
    if PRUNING_TAG in candidate.tags:
        raise NadirError(
            f"version {number} of `{name}` is being removed",
            where=client.tracking_uri,
            fix="`nadir registry prune` completes that; promote another version",
        )
    return candidate


def require_won(
    client: MlflowClient, root: Path, candidate: Version, aliases: Mapping[str, str]
) -> None:
    """Refuse a version whose gate did not say `promote`, or that did not beat this very champion.

    Raises:
        NadirError: Which of them, and where its report is.
    """
    _require_gate(client, candidate.run_id, str(candidate.version))
    require_judged(candidate, _live(candidate.name, aliases, root))


def _require_gate(client: MlflowClient, run_id: str, number: str) -> None:
    run = client.get_run(run_id) if run_id else None
    verdict = run.data.tags.get("nadir.gate", "") if run else ""
    if verdict != "promote":
        raise NadirError(
            f"the gate's verdict on version {number} is `{verdict or 'missing'}`",
            where=_report_of(client, run) if run else f"version {number}, which names no run",
            fix="train a better model; a version that once was live comes back with a rollback; "
            "--force --reason TEXT promotes it all the same",
        )


def _live(name: str, aliases: Mapping[str, str], root: Path) -> Version | None:
    number = aliases.get(CHAMPION)
    return resolve_version(f"models:/{name}/{number}", root) if number else None


def _report_of(client: MlflowClient, run: Run, name: str = _REPORT) -> str:
    """Where the report of this very run is: the workspace's may be another model's."""
    info = run.info
    if is_server(client.tracking_uri):
        page = f"experiments/{info.experiment_id}/runs/{info.run_id}/artifacts"
        return f"{client.tracking_uri.rstrip('/')}/#/{page}/{name}"
    return f"{info.artifact_uri.removeprefix('file://')}/{name}"


def _best_report(client: MlflowClient, candidate: Version) -> str:
    run = None
    with missing_is_none():
        run = client.get_run(candidate.run_id) if candidate.run_id else None
    if run is None:
        return ""
    folder, _, page = _JUDGEMENT.partition("/")
    there = {file.path for file in client.list_artifacts(candidate.run_id, folder)}
    return _report_of(client, run, _JUDGEMENT if f"{folder}/{page}" in there else _REPORT)
