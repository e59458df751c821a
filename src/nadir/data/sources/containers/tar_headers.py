"""The headers of plain members, in a third to half of the time that tarfile takes.

Plain is a regular member with a name of ASCII letters in one sound header that lies where the one
before says. At the first that is anything else, tarfile goes on.
"""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class _Readable(Protocol):
        seek: Callable[[int], object]

        def read(self, count: int) -> bytes: ...


_BLOCK = tarfile.BLOCKSIZE
# name, mode to group, size, time, checksum, a regular file, no link.
_PLAIN = re.compile(
    rb"(?s)([!-~][ -~]{0,99})\0*[0-7\0 ]{24}([0-7]{11})[ \0].{12}([0-7]{6,7})[\0 ]{1,2}0\0{100}"
    rb"ustar(?:\x0000|  \0).{80}\0{167}"
)
_NAME, _CHECKSUM = slice(0, 100), slice(148, 156)
_SPACES = sum(b" " * 8)


class PlainMember(NamedTuple):
    """A regular member: its name, where its data lie, and where the next header does."""

    name: str
    offset: int
    size: int
    end: int


def plain_members(file: _Readable, size: int) -> Iterator[PlainMember]:
    """The plain members at the beginning of a tar of some bytes, in its order."""
    start = 0
    while True:
        file.seek(start)
        header = file.read(_BLOCK)
        found = _PLAIN.fullmatch(header)
        if found is None:
            return
        name, octal = header[_NAME].rstrip(b"\0"), header[_CHECKSUM].strip(b" \0")
        total = sum(header) - sum(header[_CHECKSUM]) + _SPACES
        length, offset = int(found[2], 8), start + _BLOCK
        if total != int(octal, 8) or b"\0" in name or name.endswith(b"/"):
            return
        end = offset + -(-length // _BLOCK) * _BLOCK
        # Also where padding or the end is missing tarfile says what is wrong.
        if end > size:
            return
        yield PlainMember(name.decode("ascii"), offset, length, end)
        start = end
