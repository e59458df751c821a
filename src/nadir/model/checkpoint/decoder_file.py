"""Where a fine-tuned decoder lies; to look for one needs no PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "decoder.safetensors"
"""In the folder of a decoder; without it the base's decoder is kept."""


def tuned_decoder(folder: Path) -> Path | None:
    """The file of weights in a decoder's folder; None where the base's decoder is kept."""
    file = folder / WEIGHTS
    return file if file.is_file() else None
