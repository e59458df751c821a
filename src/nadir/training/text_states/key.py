"""The folder of text states: named by all that they are made of but the captions themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.files import canonical_hash, file_hash

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.config.train import TrainParams

FOLDER = "text_states"
"""Below `work/`."""

_PARTS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
_DIGITS = 32


def states_key(params: TrainParams, base: Path) -> str:
    """Name of the folder: a hash of caption grammar, seed, precision, tokenizers and text encoders.

    Within the folder states are found by their caption, so tags, tag rules and facts of images need
    not be in it. Nor need the number of variants: more of them are made besides those there are.

    Args:
        params: `params.yaml` train.
        base: The base model's diffusers folder, whose files are read.

    Raises:
        NadirError: It holds no text encoders.
    """
    files = sorted(path for part in _PARTS for path in (base / part).rglob("*") if path.is_file())
    if not files:
        raise NadirError(
            "the model has no text encoders",
            where=str(base),
            fix="rebuild it (`dvc repro base_model`)",
        )
    grammar = params.caption.model_dump(mode="json", exclude={"drop_all"})
    made_of = {
        "caption": grammar,
        "seed": params.seed,
        "precision": params.mixed_precision,
        "encoders": {path.relative_to(base).as_posix(): file_hash(path) for path in files},
    }
    return canonical_hash(made_of)[:_DIGITS]
