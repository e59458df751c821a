"""The promotion log: who made which version live, when and why, kept with the registered model.

Each move is one tag of the registered model, so it is seen wherever the registry is. It is written
before the aliases move, and again when they have: a kill in between leaves an entry without an end,
and the aliases say how far it came.
"""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from nadir.ground.secrets import masked
from nadir.tracking.registry.versions import CHAMPION, PREVIOUS, registered_model
from nadir.tracking.store.lock import account

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

PREFIX = "nadir.log."
KEPT = 200
"""Moves that are kept; a new one takes the place of the oldest."""
_CHARACTERS = 1000

How = Literal["promote", "forced", "back", "first"]
State = Literal["begun", "done", "not moved", "half moved"]


@dataclass(frozen=True)
class Cause:
    """Why aliases move.

    Attributes:
        how: `promote`, `forced` over its verdict, `back`, or `first`: the first registered version
            that passed the gate.
        verdict: What was said of the version that becomes live.
        reason: Why, in a sentence.
        flow_run: Prefect's id of the flow run that moves them; "" without one.
    """

    how: How
    verdict: str = ""
    reason: str = ""
    flow_run: str = ""


@dataclass(frozen=True)
class Move:
    """One entry of the log.

    Attributes:
        number: Counts up; two machines that moved at once may have the same.
        how: As of `Cause`.
        at: When it began, in UTC, ISO 8601.
        user: Name of the account.
        host: Name of the machine.
        flow_run: Prefect's id of the flow run; "" without one.
        verdict: As of `Cause`.
        reason: As of `Cause`.
        before: `champion` and `previous` before, as far as there were any.
        after: The same afterwards.
        state: `done`; `begun` while nothing says how it ended; `not moved` of one that was cut off
            or failed before the champion changed, `half moved` where `previous` had changed.
        key: Of the tag.
    """

    number: int
    how: How
    at: str
    user: str
    host: str
    flow_run: str
    verdict: str
    reason: str
    before: dict[str, str]
    after: dict[str, str]
    state: State = "begun"
    key: str = field(default="", compare=False)

    @property
    def versions(self) -> tuple[str | None, str | None]:
        """The champion before and after."""
        return self.before.get(CHAMPION), self.after.get(CHAMPION)


@dataclass(frozen=True)
class MoveLog:
    """The log as it stands.

    Attributes:
        moves: Newest first, each with the state that the aliases give it.
        aliases: Version by alias.
        unreadable: Keys of entries that somebody changed into something else.
        unended: Keys of entries whose end is not written down yet.
    """

    moves: tuple[Move, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    unended: frozenset[str] = frozenset()

    @property
    def fault(self) -> str:
        """What the aliases say otherwise than the log; "" where they agree."""
        last = next((move for move in self.moves if move.state == "done"), None)
        now = self.aliases.get(CHAMPION)
        if last is None or last.after.get(CHAMPION) == now:
            return ""
        said = last.after.get(CHAMPION)
        return (
            f"the log's last move made version {said} live, and the champion is "
            f"{f'version {now}' if now else 'none'}: it was moved by another program"
        )

    @property
    def standing(self) -> dict[str, str]:
        """The aliases, or those before a move that was cut off amid them and has to be completed.

        Between its two aliases `previous` names the champion itself, and only the log knows the one
        before. A way back whose end was not written down is completed, not taken once more.
        """
        last = self.moves[0] if self.moves else None
        if last is None:
            return self.aliases
        half = last.state == "half moved" and _live(self.aliases) == _halfway(last)
        unended = last.key in self.unended and (last.how, last.state) == ("back", "done")
        if not half and not unended:
            return self.aliases
        others = {a: at for a, at in self.aliases.items() if a not in (CHAMPION, PREVIOUS)}
        return others | last.before


def read_log(client: MlflowClient, name: str) -> MoveLog:
    """The log of a registered model; empty where there is no such model.

    Raises:
        MlflowException: The store refuses.
    """
    model = registered_model(client, name)
    if model is None:
        return MoveLog()
    aliases = {alias: str(number) for alias, number in model.aliases.items()}
    tags = {key: value for key, value in model.tags.items() if key.startswith(PREFIX)}
    found = {key: _parsed(key, value) for key, value in tags.items()}
    moves = sorted((move for move in found.values() if move), key=lambda move: move.key)
    return MoveLog(
        tuple(replace(move, state=_state(move, aliases)) for move in reversed(moves)),
        aliases,
        unreadable=tuple(sorted(key for key, move in found.items() if move is None)),
        unended=frozenset(move.key for move in moves if move.state == "begun"),
    )


def settle_log(client: MlflowClient, name: str) -> MoveLog:
    """Write down how moves ended whose process was killed, as far as the aliases tell.

    Call it with the registry's lock held.

    Raises:
        MlflowException: The store refuses.
    """
    log = read_log(client, name)
    for move in log.moves:
        if move.key in log.unended:
            _write(client, name, move)
    return log


def begin_move(
    client: MlflowClient,
    name: str,
    before: Mapping[str, str],
    after: Mapping[str, str],
    cause: Cause,
) -> Move | None:
    """Note that aliases are about to move, with the registry's lock held.

    The same move, once cut off and now given again, goes on with its entry.

    Args:
        client: Of the store.
        name: The registered model.
        before: Version by alias.
        after: Version by alias, as it shall be.
        cause: Why.

    Returns:
        The entry, for `end_move`; None where the champion stays.

    Raises:
        MlflowException: The store refuses; nothing may be moved then.
    """
    if before.get(CHAMPION) == after.get(CHAMPION):
        settle_log(client, name)
        return None
    log = read_log(client, name)
    move = _new(log, before, after, cause)
    for known in log.moves:
        if known.key not in log.unended:
            continue
        if (known.how, known.versions) == (move.how, move.versions) and known.state != "done":
            move = replace(move, number=known.number, before=known.before, key=known.key)
        else:
            _write(client, name, known)
    for old in log.moves[KEPT - 1 :]:
        if old.key != move.key:
            client.delete_registered_model_tag(name, old.key)
    _write(client, name, move)
    return move


def end_move(client: MlflowClient, name: str, move: Move, aliases: Mapping[str, str]) -> None:
    """Write down how a move ended.

    Args:
        client: Of the store.
        name: The registered model.
        move: As `begin_move` gave it.
        aliases: Version by alias, as it stands now.

    Raises:
        MlflowException: The store refuses.
    """
    _write(client, name, replace(move, state=_state(move, aliases)))


def _new(log: MoveLog, before: Mapping[str, str], after: Mapping[str, str], cause: Cause) -> Move:
    number = 1 + max((move.number for move in log.moves), default=0)
    return Move(
        number=number,
        how=cause.how,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        user=account(),
        host=socket.gethostname(),
        flow_run=cause.flow_run,
        verdict=one_line(cause.verdict),
        reason=one_line(cause.reason),
        before=_live(before),
        after=_live(after),
        # By chance, so that two machines which took one number both stay in the log.
        key=f"{PREFIX}{number:06d}.{secrets.token_hex(4)}",
    )


def one_line(text: str) -> str:
    """One line without secrets, of bounded length also as JSON."""
    plain = "".join(letter if letter.isprintable() else " " for letter in masked(text))
    return " ".join(plain.split())[:_CHARACTERS]


def _live(aliases: Mapping[str, str]) -> dict[str, str]:
    return {alias: aliases[alias] for alias in (CHAMPION, PREVIOUS) if alias in aliases}


def _halfway(move: Move) -> dict[str, str]:
    """The aliases when only `previous` has moved, which goes first."""
    return _live({**move.after, CHAMPION: move.before.get(CHAMPION, "")})


def _state(move: Move, aliases: Mapping[str, str]) -> State:
    """How far a move came whose end is not written down."""
    if move.state != "begun":
        return move.state
    if aliases.get(CHAMPION) == move.after.get(CHAMPION):
        return "done"
    halfway = _halfway(move)
    return "half moved" if move.before != halfway == _live(aliases) else "not moved"


def _write(client: MlflowClient, name: str, move: Move) -> None:
    entry = {key: value for key, value in asdict(move).items() if key != "key"}
    client.set_registered_model_tag(name, move.key, json.dumps(entry, ensure_ascii=False))


def _parsed(key: str, text: str) -> Move | None:
    try:
        entry: dict[str, Any] = json.loads(text)
        move = Move(**entry, key=key)
        sound = isinstance(move.at, str) and isinstance(move.before, dict)
    except (ValueError, TypeError):
        return None
    return move if sound and isinstance(move.after, dict) else None
