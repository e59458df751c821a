"""Text states of prompts, encoded once each and handed out in batches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch

from nadir.data.tags.written import write_prompt
from nadir.model.sdxl.text import TextEncoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from diffusers import StableDiffusionXLPipeline

    from nadir.config.caption import CaptionParams
    from nadir.sampling.prompt_format import PromptFormat


class PromptEncodings:
    """How a model is asked: prompts encoded once each and kept on the CPU, and the claimed size.

    Args:
        encoder: Text encoders of the checkpoint.
        captions: How the model was trained to be asked: `write_prompt`, and chunks of 75 tokens.
        original_size: Width and height that micro-conditioning claims for the source image; the
            canvas when None. A size that training has seen gives the best pictures.
        tags: Whether prompts are lists of tags, to be put into the form of training's.
        aliases: Name and the tag that training called it.
        as_written: Prompts that have training's form already, such as held-out captions.
        most: Prompts to remember, those used last; None remembers all.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        captions: CaptionParams,
        original_size: tuple[int, int] | None = None,
        *,
        tags: bool = True,
        aliases: Mapping[str, str] | None = None,
        as_written: Iterable[str] = (),
        most: int | None = None,
    ) -> None:
        self.original_size = original_size
        self._tags = tags
        self._aliases = aliases or {}
        self._as_written = frozenset(as_written)
        self._encoder = encoder
        self._captions = captions
        self._most = most
        self._known: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._asking = threading.Lock()

    @classmethod
    def of(
        cls,
        pipeline: StableDiffusionXLPipeline,
        form: PromptFormat,
        *,
        original_size: tuple[int, int] | None = None,
        as_written: Iterable[str] = (),
        most: int | None = None,
    ) -> PromptEncodings:
        """How a checkpoint's pipeline is asked in the form of its training.

        Without `original_size` the training's own is claimed.
        """
        return cls(
            text_encoder(pipeline),
            form.captions,
            original_size or form.original_size,
            tags=form.tags,
            aliases=form.aliases,
            as_written=as_written,
            most=most,
        )

    def get(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states [B, S, D] and pooled vectors [B, P] of the prompts."""
        with self._asking:
            new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
            self._encode(new)
            pairs = [self._known[prompt] for prompt in prompts]
            self._forget(prompts)
        return torch.stack([hidden for hidden, _ in pairs]), torch.stack([p for _, p in pairs])

    def written(self, prompt: str) -> str:
        """A prompt as the text encoders get it."""
        if not self._tags or prompt in self._as_written:
            return prompt
        return write_prompt(prompt, self._captions, self._aliases)

    def _encode(self, new: Sequence[str]) -> None:
        # One at a time: the last digits of a prompt's states depend on how many are encoded at
        # once, and a picture must not depend on what else was asked before it.
        for prompt in new:
            hidden_BSD, pooled_BP = self._encoder.encode(
                [self.written(prompt)], self._captions.token_chunks
            )
            self._known[prompt] = (hidden_BSD[0].cpu(), pooled_BP[0].cpu())

    def _forget(self, used: Sequence[str]) -> None:
        """Let go of the prompts that were not used for longest."""
        if self._most is None:
            return
        for prompt in dict.fromkeys(used):
            self._known[prompt] = self._known.pop(prompt)
        for prompt in list(self._known)[: -self._most]:
            del self._known[prompt]


def text_encoder(pipeline: StableDiffusionXLPipeline) -> TextEncoder:
    """The pipeline's own tokenizers and text encoders, as training used them."""
    return TextEncoder(
        tokenizer=pipeline.tokenizer,
        tokenizer_2=pipeline.tokenizer_2,
        text_encoder=pipeline.text_encoder,
        text_encoder_2=pipeline.text_encoder_2,
    )
