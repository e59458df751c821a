"""How many tokens texts are to a base model's tokenizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from transformers import CLIPTokenizer


def token_counter(
    tokenizers: Sequence[CLIPTokenizer],
) -> Callable[[Sequence[str]], NDArray[np.int64]]:
    """A function that counts the tokens of texts, without start and end.

    Args:
        tokenizers: SDXL's two; where they differ, the larger number counts.
    """

    def count(texts: Sequence[str]) -> NDArray[np.int64]:
        if not texts:
            return np.zeros(0, np.int64)
        lengths = [
            [len(ids) for ids in tokenizer(list(texts), **_OPTIONS).input_ids]
            for tokenizer in tokenizers
        ]
        return np.asarray(np.max(np.array(lengths, np.int64), axis=0))

    return count


# `!` is not padding here, as in `nadir.model.sdxl.text`.
_OPTIONS = {"add_special_tokens": False, "verbose": False, "split_special_tokens": True}
