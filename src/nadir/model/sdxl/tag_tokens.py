"""Token ids of captions, joined from those of their tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_KEPT = 1 << 20  # pieces; every tag of a large booru with and without a comma is half of it


def token_ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """Tokens of a text, without start, end and padding and however many they are.

    All of it is text: SDXL's second tokenizer names `!` as its padding token, which transformers
    would find in `love live!` and give padding's id 0, and a typed `<|endoftext|>` would end the
    prompt. OpenCLIP, with which SDXL was trained, and ComfyUI know no such thing.

    Args:
        tokenizer: A CLIP tokenizer.
        text: Any text.
    """
    ids: list[int] = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, verbose=False
    ).input_ids
    return ids


class TagTokens:
    """What `token_ids` gives, from memory: captions are the same tags in ever new order.

    CLIP's tokenizer cuts at spaces before it does anything else, so a caption's tokens are those
    of its pieces: each tag with the comma after it, which joins signs at the tag's end (`!,` is one
    token). A piece that a tokenizer reads differently between others makes the caption be read as a
    whole.

    Args:
        tokenizer: A CLIP tokenizer; only one thread may use it at a time.
    """

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int] | None] = {}

    def __call__(self, caption: str) -> list[int]:
        """Tokens of a caption, as `token_ids`."""
        *tags, last = caption.split(", ")
        ids: list[int] = []
        for piece in (*(f"{tag}," for tag in tags), last):
            known = self._of(piece)
            if known is None:
                return token_ids(self._tokenizer, caption)
            ids += known
        return ids

    def _of(self, piece: str) -> list[int] | None:
        if piece not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[piece] = self._alone(piece)
        return self._known[piece]

    def _alone(self, piece: str) -> list[int] | None:
        """A piece's tokens, if they are the same between other pieces."""
        before, ids, after = (token_ids(self._tokenizer, text) for text in ("a,", piece, "a"))
        together = token_ids(self._tokenizer, f"a, {piece} a")
        return ids if together == [*before, *ids, *after] else None
