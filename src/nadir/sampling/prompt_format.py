"""How a checkpoint was trained to be asked: caption form, prompt length, claimed image size."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nadir.config.caption import AS_BEFORE, CaptionParams
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN = {
    "drop_all": 0.0,
    "drop_tag": 0.0,
    "shuffle": False,
    "underscores": "keep",
    "token_chunks": 1,
}


@dataclass(frozen=True)
class PromptFormat:
    """What inference must repeat from training, read from the checkpoint.

    Attributes:
        captions: How tags become a prompt.
        original_size: Width and height (px) of a typical training image; None when unknown, as
            for models that Nadir did not train.
        tags: Whether prompts are lists of tags; others' models may be asked in sentences.
        aliases: Name and the tag that training called it.
    """

    captions: CaptionParams
    original_size: tuple[int, int] | None
    tags: bool
    aliases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, training: dict[str, Any]) -> PromptFormat:
        """From a checkpoint's `training` facts; plain SDXL where they are missing.

        Raises:
            NadirError: They are damaged, or of another version.
        """
        size = training.get("original_size")
        try:
            caption = AS_BEFORE | dict(training.get("caption", _PLAIN))
            aliases = dict(training.get("aliases", {}))
            return cls(
                # As JSON, in which lists are right for tuples.
                captions=CaptionParams.model_validate_json(json.dumps(caption)),
                original_size=None if size is None else (int(size[1]), int(size[0])),
                tags="caption" in training,
                aliases={str(name): str(tag) for name, tag in aliases.items()},
            )
        except (ValueError, TypeError, LookupError) as error:
            said = " ".join(str(error).split())[:200]
            raise NadirError(
                f"what the model says of how it was trained cannot be read ({said})",
                where="training, in nadir.json or the file's metadata",
                fix="use the version of Nadir that wrote it, or put the file back that was edited",
            ) from error
