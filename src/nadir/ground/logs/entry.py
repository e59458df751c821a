"""One line of a log as a JSON object: when, how grave, of which run, stage and step, and the text.

Keys: `time` (UTC, ISO 8601), `level` (`debug` to `critical`), `run`, `stage` and `step` where there
is one, `logger` of records of Python's logging, `exception` with a traceback, `message`.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from typing import Any

from nadir.ground.errors import NadirError
from nadir.ground.secrets import masked
from nadir.ground.terminal import harmless

VARIABLE = "NADIR_LOG"
RUN_VARIABLE = "NADIR_RUN_ID"
"""The id that all processes of one run put into their lines; the first one sets it."""
_FORMS = ("text", "json")
_NEEDED = {"time", "level", "message"}
_GRAVE = re.compile(r"\s*(?P<level>error|warning|critical)\b[^:\n]{0,40}: ", re.IGNORECASE)

_known: dict[str, Any] = {}


def is_json() -> bool:
    """Whether lines are JSON objects.

    Raises:
        NadirError: `NADIR_LOG` names no form that there is.
    """
    form = os.environ.get(VARIABLE, "").strip() or "text"
    if form not in _FORMS:
        raise NadirError(
            f"{form!r} is no form of a log",
            where=VARIABLE,
            fix=f"set it to {' or '.join(_FORMS)}, or unset it",
        )
    return form == "json"


def bind(**fields: Any) -> None:
    """Say what this process works on from now on (`stage`, `step`); None takes a field away."""
    for name, value in fields.items():
        if value is None:
            _known.pop(name, None)
        else:
            _known[name] = value


def entry(
    message: str, *, level: str | None = None, time_s: float | None = None, **fields: Any
) -> str:
    """One line, without its end.

    Args:
        message: The text; passwords are masked, and what a terminal obeys stands as its code.
        level: How grave it is; None reads it off the text (`error: …`, `WARNING train: …`).
        time_s: Unix seconds; None is now.
        fields: More keys, in place of those that `bind` named.
    """
    when = datetime.now(UTC) if time_s is None else datetime.fromtimestamp(time_s, UTC)
    made: dict[str, Any] = {
        "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level or level_of(message),
        "run": os.environ.get(RUN_VARIABLE),
        **_known,
        **fields,
        "message": message,
    }
    return json.dumps({name: _clean(value) for name, value in made.items() if value is not None})


def read_entry(line: str) -> dict[str, Any] | None:
    """The object of a line that `entry` made; None of any other."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.keys() >= _NEEDED else None


def message_of(line: str) -> str:
    """What a line says: its message if it is an entry, else itself."""
    found = read_entry(line)
    return line if found is None else str(found["message"])


def level_of(text: str) -> str:
    """How grave a line of text is, by its first word."""
    found = _GRAVE.match(text)
    return found["level"].lower() if found else "info"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return harmless(masked(value))
    return value if isinstance(value, bool | int | float) else harmless(masked(str(value)))
