"""Weights that change one parameter at a time: rounding, clipping, and the same numbers."""

from __future__ import annotations

import pytest
import torch

from nadir.ground.chance import Stream
from nadir.training.optim.rounding import rounded


def test_rounding_is_right_on_average_and_repeats() -> None:
    value = torch.full((200_000,), 1 + 2**-10)  # an eighth of the way from 1 to the next bfloat16
    first = rounded(value, seed=3, stream=Stream.WEIGHTS, step=5, place=7)
    assert set(first.float().tolist()) == {1.0, 1 + 2**-7}
    assert first.float().mean().item() == pytest.approx(1 + 2**-10, abs=3e-5)
    assert torch.equal(first, rounded(value, seed=3, stream=Stream.WEIGHTS, step=5, place=7))
    for other in ({"step": 6}, {"place": 8}, {"seed": 4}, {"stream": Stream.AVERAGE}):
        asked = {"seed": 3, "stream": Stream.WEIGHTS, "step": 5, "place": 7} | other
        assert not torch.equal(first, rounded(value, **asked))  # type: ignore[arg-type]


@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_keeps_what_bfloat16_can_hold_and_what_is_not_finite(sign: int) -> None:
    exact = sign * torch.tensor([0.0, 1.0, 3.140625, 2.0**-126, float("inf")])
    made = rounded(exact, seed=0, stream=Stream.WEIGHTS, step=0, place=0)
    assert torch.equal(made.float(), exact)
    nan = rounded(torch.tensor([float("nan")]), seed=0, stream=Stream.WEIGHTS, step=0, place=0)
    assert nan.isnan().all()
