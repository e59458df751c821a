"""Ten losses of a miniature training: a change of numbers that nobody meant is seen here."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.training.test_trainer import train

# Made by this test on 2026-11-27 (torch 2.13.0, CPU). Whoever changes what training computes
# writes the new losses here and says in the commit why they moved.
GOLDEN = {
    "adamw": [
        0.8553369,
        1.3162792,
        0.70368016,
        0.88522267,
        1.1078918,
        0.85320526,
        1.0781388,
        0.85509557,
        0.52264613,
        0.80619103,
    ],
    "muon": [
        0.8553369,
        1.3162792,
        0.70368421,
        0.88523638,
        1.1080117,
        0.85329771,
        1.0786518,
        0.8554759,
        0.52300858,
        0.80646455,
    ],
}


@pytest.mark.parametrize("optimizer", GOLDEN)
def test_the_losses_of_a_miniature_training(project: Path, optimizer: str) -> None:
    recorder = train(
        project / "work", steps=10, optimizer=optimizer, preview_every=0, learning_rate=1e-3
    )
    losses = [metrics["loss"] for _, _, metrics in recorder.steps]
    assert losses == pytest.approx(GOLDEN[optimizer], rel=1e-5)
