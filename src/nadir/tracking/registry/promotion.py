"""Which version is live: aliases moved under a lock, and moved back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.data.gate.accepted_profile import accept
from nadir.ground.errors import NadirError
from nadir.ground.workspace import project_root
from nadir.tracking.registry.aliases import move_aliases, swapped
from nadir.tracking.registry.champion_dataset import profile_of_run
from nadir.tracking.registry.judgements import REASON_TAG, VERDICT_TAG
from nadir.tracking.registry.move_log import Cause, Move, read_log
from nadir.tracking.registry.promoting.examination import named_candidate, require_won
from nadir.tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Version,
    alias_table,
    model_name,
    resolve_version,
)
from nadir.tracking.runs.pipeline_run import set_tags
from nadir.tracking.store.connection import connect, store_faults
from nadir.tracking.store.lock import registry_lock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

_TAG_CHARACTERS = 1000
FORCED_TAG = "nadir.forced"
"""Why a version was promoted against its verdict."""


WeightsCheck = Callable[["Version", Path], None]


@dataclass(frozen=True)
class Promotion:
    """What an alias change came to.

    Attributes:
        name: The registered model.
        champion: Version that is live now; 0 where there is none again.
        previous: Version that was live before, which a rollback brings back.
        changed: Whether anything moved.
    """

    name: str
    champion: int
    previous: int | None
    changed: bool


@store_faults()
def promote(
    root: Path | None = None,
    *,
    version: int | None = None,
    require_weights: WeightsCheck,
    force_reason: str | None = None,
    flow_run_id: str = "",
) -> Promotion:
    """Make a version the champion; the one before it becomes `previous`.

    Its dataset becomes the accepted one (`nadir.data.gate.accepted_profile`), where its run kept a
    profile.

    Repeating it changes nothing, so a promotion that was interrupted is finished by calling again:
    `previous` is set first, and the champion's alias moves in one step.

    Args:
        root: The project's root.
        version: Its number; None is the challenger.
        require_weights: Raises where the weights of a version cannot be had; the room that knows
            where they lie is above this one.
        force_reason: Promote whatever the gate and the comparison with the champion say, and why;
            it stays on the version and its run.
        flow_run_id: Prefect's id of the flow run, for the log.

    Raises:
        NadirError: No such version, no challenger, its gate did not say `promote`, it was not
            judged better than this very champion, or its weights cannot be had.
    """
    root = root or project_root()
    name = model_name(root)
    client = connect(root)
    with registry_lock(client, name) as hold:
        aliases = alias_table(client, name)
        candidate = named_candidate(client, root, name, version, aliases)
        number = str(candidate.version)
        if force_reason is None and aliases.get(CHAMPION) != number:
            require_won(client, root, candidate, aliases)
        require_weights(candidate, root)
        with profile_of_run(client, candidate.run_id) as profile:
            wanted = _after_promotion(aliases, number)
            cause = _cause(candidate, force_reason, flow_run_id)
            hold.check()
            move_aliases(client, name, aliases, wanted, cause)
            if profile is not None:
                accept(profile, root)
            if force_reason is not None:
                _mark_forced(client, candidate, aliases, force_reason)
        return _outcome(name, aliases, wanted)


def _after_promotion(aliases: Mapping[str, str], number: str) -> dict[str, str]:
    """Where the aliases point once a version is the champion."""
    wanted = {**aliases, CHAMPION: number}
    if aliases.get(CHAMPION) not in {None, number}:
        wanted[PREVIOUS] = aliases[CHAMPION]
    if aliases.get(CHALLENGER) == number:
        del wanted[CHALLENGER]
    return wanted


def _cause(candidate: Version, force_reason: str | None, flow_run_id: str) -> Cause:
    """What the log says of a promotion."""
    verdict = candidate.tags.get(VERDICT_TAG, "never judged")
    if force_reason is not None:
        return Cause("forced", verdict, force_reason, flow_run_id)
    return Cause("promote", verdict, candidate.tags.get(REASON_TAG, ""), flow_run_id)


@store_faults()
def rollback(
    root: Path | None = None, *, require_weights: WeightsCheck, flow_run_id: str = ""
) -> Promotion:
    """Make the previous champion live again; the one that was live becomes `previous`.

    It also becomes `challenger` again, which it was before its promotion, unless a version that was
    registered since is. Going back twice changes nothing; repeating one that was killed completes
    it, as far as the log can tell.

    Args:
        root: The project's root.
        require_weights: As of `promote`.
        flow_run_id: As of `promote`.

    Raises:
        NadirError: There was no champion before this one, or its weights cannot be had.
    """
    root = root or project_root()
    name = model_name(root)
    client = connect(root)
    with registry_lock(client, name) as hold:
        log = read_log(client, name)
        aliases, standing = log.aliases, log.standing
        previous, champion = standing.get(PREVIOUS), standing.get(CHAMPION)
        if previous is None:
            raise NadirError(
                f"`{name}` has no previous champion to go back to",
                where=client.tracking_uri,
                fix="promote a version by its number",
            )
        candidate = resolve_version(f"models:/{name}/{previous}", root)
        require_weights(candidate, root)
        wanted = swapped(standing, champion, previous)
        verdict = candidate.tags.get(VERDICT_TAG, "never judged")
        cause = Cause("back", verdict, "the champion before is live again", flow_run_id)
        hold.check()
        move_aliases(client, name, aliases, wanted, cause)
        return _outcome(name, aliases, wanted)


@store_faults()
def take_back(root: Path, move: Move, *, reason: str, flow_run_id: str = "") -> Promotion:
    """Undo a promotion after which something was found wrong, while its version is still live.

    Args:
        root: The project's root.
        move: The promotion's entry in the log.
        reason: What was found.
        flow_run_id: As of `promote`.

    Returns:
        What is live now; where that is another version by now, nothing was moved.

    Raises:
        NadirError: The store refuses.
    """
    name = model_name(root)
    client, number = connect(root), move.after[CHAMPION]
    with registry_lock(client, name) as hold:
        aliases = read_log(client, name).aliases
        if aliases.get(CHAMPION) != number:
            return _outcome(name, aliases, aliases)
        wanted = {a: at for a, at in aliases.items() if a not in (CHAMPION, PREVIOUS)}
        wanted |= move.before
        wanted.setdefault(CHALLENGER, number)
        hold.check()
        cause = Cause("back", move.verdict, reason, flow_run_id)
        move_aliases(client, name, aliases, wanted, cause)
        return _outcome(name, aliases, wanted)


def _mark_forced(
    client: MlflowClient, candidate: Version, aliases: Mapping[str, str], reason: str
) -> None:
    """Leave on version and run that the gate was passed over, why, and what it had said."""
    said = candidate.tags.get(VERDICT_TAG, "never judged")
    tags = {
        FORCED_TAG: reason[:_TAG_CHARACTERS],
        f"{FORCED_TAG}.over": f"version {aliases.get(CHAMPION, 'none')}, verdict {said}",
    }
    if candidate.run_id:
        set_tags(client, candidate.run_id, tags)
    for key, value in tags.items():
        client.set_model_version_tag(candidate.name, str(candidate.version), key, value)


def _outcome(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> Promotion:
    previous = after.get(PREVIOUS)
    return Promotion(
        name=name,
        champion=int(after.get(CHAMPION, 0)),
        previous=int(previous) if previous else None,
        changed=before.get(CHAMPION) != after.get(CHAMPION),
    )
