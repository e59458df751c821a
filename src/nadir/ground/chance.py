"""Random numbers as functions of names and places, never of processes or the order of calls.

So results do not depend on how work is shared out, and an interrupted run goes on without
replaying anything. What needs chance takes one of three: a number from a text, a seed from a
text, or the generator of a place.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_WORD = (1 << 64) - 1


class Stream(IntEnum):
    """What a place's numbers are for; streams are independent of each other."""

    NOISE = 1
    TIMESTEPS = 2
    FLIP = 4
    EPOCH = 5
    WEIGHTS = 6
    AVERAGE = 7
    GRADIENTS = 8
    CROP = 9


def fraction_of(text: str) -> float:
    """A number in 0 to below 1 that looks random and depends on the text alone: 56 bits."""
    return int.from_bytes(_digest(text)[:7], "big") / float(1 << 56)


def fractions_of(texts: Iterable[bytes]) -> NDArray[np.float64]:
    """`fraction_of` of many texts in UTF-8, [N]."""
    digests = b"".join([b"\0" + hashlib.sha256(text).digest()[:7] for text in texts])
    return np.frombuffer(digests, ">u8").astype(np.float64) / float(1 << 56)


def seed_of(text: str) -> int:
    """A seed that depends on the text alone: 63 bits of its hash, as torch takes them."""
    return int.from_bytes(_digest(text)[:8], "big") >> 1


def generator(seed: int, stream: Stream, step: int, position: int = 0) -> np.random.Generator:
    """The generator of one place; 2^64 draws lie between two places.

    It is Philox, whose counter is the place itself.

    Args:
        seed: Any integer.
        stream: What the numbers are for.
        step: Of training, or an epoch; from 0.
        position: In the batch, or of a bucket; from 0.
    """
    counter = [0, int(stream), position, step]
    return np.random.Generator(np.random.Philox(key=seed & _WORD, counter=counter))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
