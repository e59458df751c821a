"""Numbers that are functions of names and places: their values are fixed, their chance is fair."""

from __future__ import annotations

import numpy as np
import pytest

from nadir.ground.chance import Stream, fraction_of, generator, seed_of


def test_values_stay_what_they_are() -> None:
    # sha256("nadir") begins with these 56 bits; whoever changes this changes who is held out.
    assert fraction_of("nadir") == pytest.approx(0x426A3D9667CCFF / 2**56)
    assert seed_of("start\x000\x001girl") == 1720221716732372732
    assert generator(7, Stream.EPOCH, 3, 2).random() == 0.03023748277644811


def test_fractions_are_uniform_and_seeds_fit_a_signed_word() -> None:
    values = np.array([fraction_of(f"0:{number}") for number in range(20_000)])
    counts = np.histogram(values, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 2000).max() < 5 * 42
    assert all(0 <= seed_of(str(number)) < 2**63 for number in range(1000))


def test_any_integer_is_a_seed_and_places_are_independent() -> None:
    draws = {
        generator(seed, stream, step, position).random()
        for seed in (-1, 0, 2**63)
        for stream in Stream
        for step in range(3)
        for position in range(3)
    }
    assert len(draws) == 3 * len(Stream) * 9
