"""How a checkpoint was trained to be asked: caption form, prompt length, claimed image size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nadir.config.train import CaptionParams

_PLAIN = {
    "drop_all": 0.0,
    "drop_tag": 0.0,
    "shuffle": False,
    "underscores": "keep",
    "token_chunks": 1,
}


@dataclass(frozen=True)
class Habits:
    """What inference must repeat from training, read from the checkpoint.

    Attributes:
        captions: How tags become a prompt.
        original_size: Width and height (px) of a typical training image; None when unknown, as
            for models that Nadir did not train.
        tags: Whether prompts are lists of tags; others' models may be asked in sentences.
    """

    captions: CaptionParams
    original_size: tuple[int, int] | None
    tags: bool

    @classmethod
    def of(cls, training: dict[str, Any]) -> Habits:
        """From a checkpoint's `training` facts; plain SDXL habits where they are missing."""
        caption = training.get("caption", _PLAIN)
        size = training.get("original_size")
        return cls(
            captions=CaptionParams.model_validate(caption),
            original_size=None if size is None else (int(size[1]), int(size[0])),
            tags="caption" in training,
        )
