"""Ten losses of a miniature training: a change of numbers that nobody meant is seen here."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.training.test_trainer import train

# Made by this test on 2026-11-27 (torch 2.13.0, CPU). Whoever changes what training computes
# writes the new losses here and says in the commit why they moved.
GOLDEN = {
    "adamw": [
        0.87954098,
        1.2228954,
        0.61905599,
        1.3889084,
        0.66464013,
        0.96139753,
        1.0295285,
        0.74907458,
        0.7098788,
        0.90278232,
    ],
    "muon": [
        0.87954098,
        1.2228954,
        0.61906976,
        1.3889321,
        0.66464174,
        0.96147168,
        1.0297265,
        0.74929982,
        0.71004665,
        0.902987,
    ],
}


@pytest.mark.parametrize("optimizer", GOLDEN)
def test_the_losses_of_a_miniature_training(project: Path, optimizer: str) -> None:
    recorder = train(
        project / "work", steps=10, optimizer=optimizer, preview_every=0, learning_rate=1e-3
    )
    losses = [metrics["loss"] for _, _, metrics in recorder.steps]
    assert losses == pytest.approx(GOLDEN[optimizer], rel=1e-5)
