"""Texts from data, servers and files, made harmless for the terminal that they are shown in.

A terminal obeys some characters: they move the cursor, rewrite what was said before, name the
window, fill the clipboard or turn a line around. `harmless` writes them as their code, where a
text is put into a line. `guard` is the net below: of all that a command prints, only this program's
own marks (colours, a rewritten progress line) get through as orders.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO

# C0 without tab and line feed, DEL, C1, line separators, marks of direction, lone surrogates.
_CONTROLS = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_UNPRINTABLE = re.compile(_CONTROLS)
# Colours and weights but not "concealed" (8), the end of a line erased, a line begun anew.
_COLOURS = r"\x1b\[(?:(?:[0-79]|[1-9]\d{1,2})(?:;\d{1,3})*)?m|\x1b\[K|\r(?=\n|\x1b\[K)"
_ORDERS = re.compile(rf"(?P<own>{_COLOURS})|{_CONTROLS}")
# Libraries' progress bars begin their line anew, and go up to the one above.
_BARS = re.compile(rf"(?P<own>{_COLOURS}|\r|\x1b\[A)|{_CONTROLS}")


def harmless(text: str) -> str:
    """The text, with every character that a terminal obeys written as its code."""
    return _UNPRINTABLE.sub(_code, text)


def guard(stream: TextIO, *, bars: bool = False) -> TextIO:
    """A stream that passes on what is written, with orders that are not this program's as codes.

    Args:
        stream: Where people read.
        bars: Let the orders of progress bars through as well.
    """
    if isinstance(stream, _Guarded):
        return stream
    return _Guarded(stream, _BARS if bars else _ORDERS)  # type: ignore[return-value]


class _Guarded:
    """Stands for a stream in everything but `write`."""

    def __init__(self, stream: TextIO, orders: re.Pattern[str]) -> None:
        self._stream = stream
        self._orders = orders

    def write(self, text: str) -> int:
        """As the stream's own; raises TypeError for bytes, as a text stream does."""
        self._stream.write(self._orders.sub(lambda m: m["own"] or _code(m), text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Each line by `write`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _code(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
