"""Aliases of a model: where they point after a promotion or a rollback, and all moved or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.tracking.registry.move_log import begin_move, end_move
from nadir.tracking.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, alias_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

    from nadir.tracking.registry.move_log import Cause, Move

_IN_ORDER = (PREVIOUS, CHAMPION, CHALLENGER)


def swapped(aliases: Mapping[str, str], champion: str | None, previous: str) -> dict[str, str]:
    """The aliases after going back from `champion` to `previous`.

    The version that was live becomes a challenger again, unless a newer one is. A champion whose
    version was deleted (None) took its alias along, and nothing is left to go back to afterwards.
    """
    wanted = {**aliases, CHAMPION: previous}
    if champion is None:
        del wanted[PREVIOUS]
        return wanted
    wanted[PREVIOUS] = champion
    if wanted.get(CHALLENGER) == previous:
        del wanted[CHALLENGER]
    elif CHALLENGER not in wanted and int(champion) > int(previous):
        wanted[CHALLENGER] = champion
    return wanted


def move_aliases(
    client: MlflowClient,
    name: str,
    before: Mapping[str, str],
    wanted: Mapping[str, str],
    cause: Cause,
) -> None:
    """Move aliases of a model, all of them or none, and write that into the log.

    MLflow moves one alias a call. `previous` goes first and `challenger` last, so that whoever is
    killed in between has lost no way back; when a call fails, what went before it is undone.

    Args:
        client: Of the store.
        name: The registered model.
        before: Version by alias, as it stands.
        wanted: Version by alias, as it shall stand.
        cause: Why they move.

    Raises:
        NadirError: A call failed and could not be undone, or somebody else moved them meanwhile.
    """
    move = begin_move(client, name, before, wanted, cause)
    try:
        for alias in _IN_ORDER:
            point(client, name, alias, before.get(alias), wanted.get(alias))
        after = alias_table(client, name)
        if move is not None:
            end_move(client, name, move, after)
    except Exception as error:
        _undo(client, name, before, error, move)
        raise
    if any(after.get(alias) != wanted.get(alias) for alias in _IN_ORDER):
        raise NadirError(
            f"the aliases of `{name}` were moved by somebody else at the same time: "
            f"{_listed(after)} instead of {_listed(wanted)}",
            where=client.tracking_uri,
            fix="agree on one version with whoever did, then promote it again",
        )


def point(client: MlflowClient, name: str, alias: str, now: str | None, wanted: str | None) -> None:
    """Make an alias name a version, or none: the one place where any alias is set or removed.

    Args:
        client: Of the store.
        name: The registered model.
        alias: Such as `champion`.
        now: The version it names; where that is `wanted` already, nothing is sent.
        wanted: The version it shall name; None removes the alias.
    """
    if wanted == now:
        return
    if wanted is None:
        client.delete_registered_model_alias(name, alias)
    else:
        client.set_registered_model_alias(name, alias, wanted)


def _undo(
    client: MlflowClient,
    name: str,
    before: Mapping[str, str],
    cause: Exception,
    move: Move | None,
) -> None:
    """Put the aliases back; the call that failed may have been heard all the same."""
    try:
        now = alias_table(client, name)
        for alias in reversed(_IN_ORDER):
            point(client, name, alias, now.get(alias), before.get(alias))
        if move is not None:
            end_move(client, name, move, before)
    except Exception as error:
        raise NadirError(
            f"the MLflow store failed while the aliases of `{name}` moved, and they could not be "
            f"put back: {str(cause).partition(chr(10))[0][:500]}",
            where=client.tracking_uri,
            fix="when the store answers again, look at `nadir status` and give the same command; "
            f"before it they were {_listed(before)}",
        ) from error


def _listed(aliases: Mapping[str, str]) -> str:
    known = [f"{alias} {aliases[alias]}" for alias in reversed(_IN_ORDER) if alias in aliases]
    return ", ".join(known) or "none"
