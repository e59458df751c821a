"""What was decided about versions, beside the moves in the promotion log: asked, answered, drawn.

Each is one tag of the registered model. A request for an approval is open until a person answers,
the version is refused or promoted otherwise, or its time is over, which nobody has to be there for.
"""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from nadir.tracking.registry.move_log import one_line
from nadir.tracking.registry.versions import registered_model
from nadir.tracking.store.lock import account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow import MlflowClient

PREFIX = "nadir.decision."
KEPT = 200
"""Decisions that are kept; a new one takes the place of the oldest."""

What = Literal[
    "refused", "asked", "approved", "rejected", "timed out", "pictures sound", "pictures failed"
]
_ANSWERS = ("approved", "rejected", "timed out", "refused")


@dataclass(frozen=True)
class Decision:
    """One entry.

    Attributes:
        number: Counts up.
        at: In UTC, ISO 8601.
        what: `refused` by the gate or the comparison, `asked`, `approved` or `rejected` by a
            person, `timed out`; `pictures sound` or `pictures failed` of those drawn after a
            promotion.
        version: Of which version.
        who: Account and machine; of an answer, who gave it.
        reason: Why, in one line.
        verdict: What the comparison with the champion had said.
        flow_run: Prefect's id of the flow run that asks or acts; "" without one.
        until: Of a request: when its time is over, in UTC, ISO 8601.
        move: Key of the log's move that pictures were drawn after.
        key: Of the tag.
    """

    number: int
    at: str
    what: What
    version: int
    who: str
    reason: str = ""
    verdict: str = ""
    flow_run: str = ""
    until: str = ""
    move: str = ""
    key: str = field(default="", compare=False)

    @property
    def is_over(self) -> bool:
        """Whether the time to answer this request is over."""
        return bool(self.until) and datetime.fromisoformat(self.until) <= datetime.now(UTC)


def read_decisions(client: MlflowClient, name: str) -> list[Decision]:
    """Of a registered model, newest first; what somebody changed into something else is left out.

    Raises:
        MlflowException: The store refuses.
    """
    model = registered_model(client, name)
    tags = {} if model is None else model.tags
    found = [_parsed(key, value) for key, value in tags.items() if key.startswith(PREFIX)]
    return sorted(filter(None, found), key=lambda one: one.key, reverse=True)


def open_request(decisions: Sequence[Decision], version: int) -> Decision | None:
    """The request for an approval of a version that nobody has answered; its time may be over.

    Args:
        decisions: Newest first.
        version: Its number.
    """
    last = last_word(decisions, version)
    return last if last is not None and last.what == "asked" else None


def last_word(decisions: Sequence[Decision], version: int) -> Decision | None:
    """The newest request or answer about a version; None where nobody has asked.

    Args:
        decisions: Newest first.
        version: Its number.
    """
    said = (one for one in decisions if one.version == version)
    return next((one for one in said if one.what in ("asked", *_ANSWERS)), None)


def note(
    client: MlflowClient,
    name: str,
    what: What,
    version: int,
    *,
    who: str = "",
    hours: float | None = None,
    **said: str,
) -> Decision:
    """Write a decision down, with the registry's lock held.

    Args:
        client: Of the store.
        name: The registered model.
        what: As of `Decision`.
        version: Its number.
        who: As of `Decision`; "" is this account on this machine.
        hours: Of a request: for how long it may be answered.
        said: `reason`, `verdict`, `flow_run` and `move` of `Decision`.

    Raises:
        MlflowException: The store refuses.
    """
    known = read_decisions(client, name)
    number, now = 1 + max((one.number for one in known), default=0), datetime.now(UTC)
    texts = {key: text if key == "move" else one_line(text) for key, text in said.items()}
    made = Decision(
        number=number,
        at=_iso(now),
        what=what,
        version=version,
        who=one_line(who) or f"{account()}@{socket.gethostname()}",
        until="" if hours is None else _iso(now + timedelta(hours=hours)),
        key=f"{PREFIX}{number:06d}.{secrets.token_hex(4)}",
        **texts,
    )
    for old in known[KEPT - 1 :]:
        client.delete_registered_model_tag(name, old.key)
    entry = {key: value for key, value in asdict(made).items() if key != "key" and value != ""}
    client.set_registered_model_tag(name, made.key, json.dumps(entry, ensure_ascii=False))
    return made


def settle_requests(client: MlflowClient, name: str) -> list[Decision]:
    """Write down which requests nobody answered in time, with the registry's lock held.

    Returns:
        All decisions, newest first.

    Raises:
        MlflowException: The store refuses.
    """
    known = read_decisions(client, name)
    late = [
        asked
        for version in {one.version for one in known}
        if (asked := open_request(known, version)) is not None and asked.is_over
    ]
    for asked in late:
        reason = f"nobody answered until {asked.until}: not promoted"
        note(client, name, "timed out", asked.version, verdict=asked.verdict, reason=reason,
             flow_run=asked.flow_run)  # fmt: skip
    return read_decisions(client, name) if late else known


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _parsed(key: str, text: str) -> Decision | None:
    try:
        entry: dict[str, Any] = json.loads(text)
        made = Decision(**entry, key=key)
        sound = isinstance(made.version, int) and isinstance(made.number, int)
        _ = (made.is_over, datetime.fromisoformat(made.at))
    except (ValueError, TypeError):
        return None
    return made if sound else None
