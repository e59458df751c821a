"""A version beside the champion of the moment: judged, and written on run and version.

The comparison is the registry's step and no stage's: what DVC keeps of an evaluation depends on the
checkpoint and the data alone, and the champion changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.config.evaluate import EvaluateParams
from nadir.config.gate import GateParams
from nadir.config.reader import read_section
from nadir.ground.errors import NadirError
from nadir.ground.files import write_json, write_text
from nadir.ground.workspace import PARAMS_FILE, main_workspace
from nadir.tracking.registry.evaluations import (
    PICTURES,
    TABLE,
    kept_evaluation,
    protocol_of_run,
    read_evaluation,
)
from nadir.tracking.registry.origins import origin_facts
from nadir.tracking.registry.versions import CHAMPION, alias_table, resolve_version
from nadir.tracking.runs.pipeline_run import set_tags
from nadir.tracking.store.connection import connect, store_faults

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from mlflow import MlflowClient

    from nadir.evaluation.verdict.outcome import Judgement
    from nadir.tracking.registry.versions import Version

VERDICT_TAG = "nadir.judged"
"""Verdict beside the champion; `alone` where there was none."""
AGAINST_TAG = "nadir.judged.against"
"""The champion's version then."""
AGAINST_OUTPUT_TAG = "nadir.judged.against_md5"
"""The hash of its weights, by which promotion knows it."""
ALONE = "alone"
REASON_TAG = "nadir.judged.reason"
"""Why, in one sentence."""
_PROTOCOL_TAG = "nadir.judged.protocol"
_FOLDER = "judgement"
_TAG_CHARACTERS = 1000

Draw = Callable[["Version", "Version", str | None], str]
"""Draws what is not kept of (champion, candidate) by the protocol if it can, and returns the
protocol that both were drawn by in the end."""


@dataclass(frozen=True)
class Judged:
    """What a judgement came to.

    Attributes:
        verdict: `promote`, `reject`, `inconclusive`, or `alone` without a champion.
        reason: One sentence.
        against: The champion's version; None without one.
        page: The report.
    """

    verdict: str
    reason: str
    against: int | None = None
    page: Path | None = None

    @property
    def is_final(self) -> bool:
        """Whether the same registry would give it again; a champion that lacks may come back."""
        return self.against is None or self.page is not None


def judge_version(root: Path, version: Version, *, draw: Draw) -> Judged:
    """Judge a version beside the champion of this moment, and write it on version and run.

    Without a champion, or when the version is the champion's own weights, the absolute checks of
    its evaluation are all there is. A champion that cannot be drawn leaves it `inconclusive`.

    Args:
        root: The project's root.
        version: The candidate.
        draw: Draws what is not kept; the room that can is above this one.

    Raises:
        NadirError: The store refuses, or the section `gate` names no metric.
    """
    from nadir.evaluation.metrics import METRICS
    from nadir.evaluation.verdict.judgement import judge

    with store_faults():
        client = connect(root)
        champion = _live(client, root, version)
        if champion is None:
            return _alone(client, version)
    params = read_section("gate", GateParams, root / PARAMS_FILE)
    try:
        folders = _folders(client, root, champion, version, draw)
        tables = [_table(folder) for folder in folders]
    except _NotComparableError as error:
        reason = f"version {champion.version} cannot be compared with: {error.what}"
        done = Judged("inconclusive", reason, champion.version)
        with store_faults():
            _write_tags(client, version, done, champion)
        return done
    judgement = judge(tables[0], tables[1], params, METRICS)
    page = _write_page(root, champion, version, judgement, folders, params)
    done = Judged(judgement.verdict, judgement.reason, champion.version, page)
    with store_faults():
        for file in sorted(page.parent.iterdir()):
            client.log_artifact(version.run_id, str(file), _FOLDER)
        # Last, so that whoever reads the tags finds the report.
        _write_tags(client, version, done, champion, judgement.protocol_id)
    return done


class _NotComparableError(NadirError):
    """An evaluation that is not there and cannot be made, whatever the store says."""


def _live(client: MlflowClient, root: Path, version: Version) -> Version | None:
    """The champion; None where there is none, or it has the very weights."""
    number = alias_table(client, version.name).get(CHAMPION)
    champion = resolve_version(f"models:/{version.name}/{number}", root) if number else None
    return None if champion is None or champion.md5 == version.md5 else champion


def _alone(client: MlflowClient, version: Version) -> Judged:
    said = version.tags.get(VERDICT_TAG)
    if said is not None:  # what it won by stays on the champion
        return Judged(said, version.tags.get(REASON_TAG, ""))
    done = Judged(ALONE, "there is no other champion to compare with: absolute checks only")
    _write_tags(client, version, done, None)
    return done


def check_parameters(root: Path) -> None:
    """Refuse a gate that names no metric, and wrong networks, before anything is trained for it.

    Raises:
        NadirError: They do.
    """
    from nadir.evaluation.metrics import METRICS
    from nadir.evaluation.networks.files import check_files
    from nadir.evaluation.verdict.judgement import criteria

    criteria(read_section("gate", GateParams, root / PARAMS_FILE), METRICS)
    check_files(read_section("evaluate", EvaluateParams, root / PARAMS_FILE).networks)


def require_judged(candidate: Version, champion: Version | None) -> None:
    """Refuse a version that this champion did not lose to.

    Args:
        candidate: Which is to become the champion.
        champion: Which is live; None leaves nothing to ask.

    Raises:
        NadirError: It was judged against another one, against none, or did not win.
    """
    if champion is None or champion.md5 == candidate.md5:
        return
    tags, label = candidate.tags, f"version {candidate.version}"
    if tags.get(AGAINST_OUTPUT_TAG) != champion.md5:
        before = tags.get(AGAINST_TAG)
        then = f"was judged against version {before}" if before else "was judged against no other"
        raise NadirError(
            f"{label} {then}, and the champion is version {champion.version}",
            where=f"models:/{candidate.name}/{candidate.version}",
            fix=f"`nadir promote --version {candidate.version} --judge` compares the two and "
            "promotes the better one; a version that once was live comes back with a rollback",
        )
    if tags.get(VERDICT_TAG) != "promote":
        raise NadirError(
            f"{label} beside version {champion.version} is `{tags.get(VERDICT_TAG)}`: "
            f"{tags.get(REASON_TAG, '')}",
            where=f"models:/{candidate.name}/{candidate.version}, artifact {_FOLDER}",
            fix="train a better model, or ask more prompts (evaluate.holdout_prompts, "
            "evaluate.loss_images); --force --reason TEXT promotes it all the same",
        )


def _folders(
    client: MlflowClient, root: Path, champion: Version, version: Version, draw: Draw
) -> list[Path]:
    """Evaluations of both by one protocol, the candidate's own if possible.

    While something is drawn, nobody waits for the store.
    """
    protocol_id = _own_protocol(client, root, version)
    for _ in range(3):
        folders = _kept(client, root, (champion, version), protocol_id)
        if folders is not None:
            return folders
        try:
            protocol_id = draw(champion, version, protocol_id)
        except NadirError as error:
            raise _NotComparableError(error.what, where=error.where, fix=error.fix) from error
    raise _NotComparableError("its evaluation is not where it was put", fix="judge again")


def _table(folder: Path) -> pd.DataFrame:
    try:
        return read_evaluation(folder / TABLE)
    except NadirError as error:
        raise _NotComparableError(error.what, where=error.where, fix=error.fix) from error


@store_faults()
def _kept(
    client: MlflowClient, root: Path, versions: tuple[Version, ...], protocol_id: str | None
) -> list[Path] | None:
    """Their evaluations by a protocol; None where one lacks."""
    if protocol_id is None:
        return None
    found = [kept_evaluation(client, root, one, protocol_id) for one in versions]
    folders = [folder for folder in found if folder is not None]
    return folders if len(folders) == len(found) else None


@store_faults()
def _own_protocol(client: MlflowClient, root: Path, version: Version) -> str | None:
    kept = main_workspace(root) / "work" / "evaluations"
    mine = sorted(
        kept.glob(f"*/{version.md5.removesuffix('.dir')}"), key=lambda path: path.stat().st_mtime
    )
    if mine:
        return mine[-1].parent.name
    return protocol_of_run(client, version)


def _write_page(
    root: Path,
    champion: Version,
    version: Version,
    judgement: Judgement,
    folders: list[Path],
    params: GateParams,
) -> Path:
    from nadir.evaluation.protocol import fixed_prompts
    from nadir.evaluation.report.judgement_page import render_judgement

    texts = fixed_prompts(read_section("evaluate", EvaluateParams, root / PARAMS_FILE))
    name = f"{version.name}-{version.version}-against-{champion.version}"
    folder = main_workspace(root) / "work" / "judgements" / name
    labels = {
        "champion": f"{champion.name} version {champion.version}",
        "challenger": f"{version.name} version {version.version}",
    }
    write_json(
        folder / "judgement.json",
        {**judgement.as_json(), "versions": labels, "parameters": params.model_dump()},
    )
    page = folder / "judgement.html"
    tables = [read_evaluation(one / TABLE) for one in folders]
    pictures = [one / PICTURES for one in folders]
    html = render_judgement(
        judgement,
        labels,
        tables=tables,
        pictures=pictures,
        params=params,
        texts=texts,
        origins=[origin_facts(champion), origin_facts(version)],
    )
    write_text(page, html)
    return page


def _write_tags(
    client: MlflowClient,
    version: Version,
    done: Judged,
    champion: Version | None,
    protocol_id: str = "",
) -> None:
    tags = {
        VERDICT_TAG: done.verdict,
        REASON_TAG: done.reason[:_TAG_CHARACTERS],
        AGAINST_TAG: str(champion.version) if champion else "none",
        AGAINST_OUTPUT_TAG: champion.md5 if champion else "none",
        _PROTOCOL_TAG: protocol_id or "none",
    }
    if version.run_id:
        set_tags(client, version.run_id, tags)
    for key, value in tags.items():
        client.set_model_version_tag(version.name, str(version.version), key, value)
