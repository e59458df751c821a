"""Latents that were drawn, kept until all are: an evaluation that was killed draws only the rest.

Latents and not pictures: they are small, and decoded again in the same batch they give the same
pixels, so the numbers are those of an evaluation that was never stopped.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nadir.ground.files import atomic_path, canonical_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

_NAME = "latents"


class KeptLatents:
    """A folder of batches.

    Args:
        folder: Of one checkpoint, on one kind of device, drawn by one state of the code; whoever
            names it sees to that.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def batch(self, asked: Any, draw: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The latents of a batch: those that were kept, or drawn now and kept.

        Args:
            asked: Everything that shapes them, as JSON values.
            draw: Draws them.
        """
        path = self._folder / f"{canonical_hash(asked)[:32]}.safetensors"
        # A file that a power cut tore is drawn again.
        with contextlib.suppress(FileNotFoundError, SafetensorError, KeyError):
            kept: torch.Tensor = load_file(path)[_NAME]
            return kept
        latents_BCHW = draw()
        with atomic_path(path) as temporary:
            save_file({_NAME: latents_BCHW.cpu().contiguous()}, temporary)
        return latents_BCHW
