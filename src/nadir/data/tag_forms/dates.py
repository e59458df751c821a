"""The year of a post, however its date is written."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

DATE_KEYS = ("created_at",)
"""Keys of a post's date, as the sites' own records have them."""
# The first boorus are of 2005; a number outside is not a date.
_FIRST, _LAST = 1990, 2100
_ISO = re.compile(r"([0-9]{4})-[0-9]{2}")
_NAMED = re.compile(r"[A-Za-z]{3} [A-Za-z]{3} .*\b([0-9]{4})")
_SECONDS = re.compile(r"[0-9]{9,10}")


def year_of(given: Any) -> int | None:
    """The calendar year (UTC where it is a number), or None for what is no date.

    Args:
        given: ISO 8601 (Danbooru, e621), `Sat Jan 01 00:00:00 -0500 2022` (Gelbooru), Unix time in
            seconds (yande.re), or {"s": seconds} (Sankaku).
    """
    if isinstance(given, dict):
        given = given.get("s")
    if isinstance(given, str):
        found = _ISO.match(given) or _NAMED.fullmatch(given[:64])
        if found:
            return _sound(int(found[1]))
        given = int(given) if _SECONDS.fullmatch(given) else None
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    # Also false for what is not a number.
    if not 0 < given < 1 << 33:
        return None
    return _sound(datetime.fromtimestamp(given, UTC).year)


def _sound(year: int) -> int | None:
    return year if _FIRST <= year <= _LAST else None
