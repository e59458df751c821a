"""The frozen text encoders of a training: where they wait, and what they do not read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nadir.data.tags.caption_lengths import caption_lengths
from nadir.ground import artifacts
from nadir.ground.events import say
from nadir.model.sdxl.networks import load_text
from nadir.model.sdxl.token_counts import token_counter
from nadir.training.trainable import text_precision

if TYPE_CHECKING:
    import torch

    from nadir.config.caption import CaptionParams
    from nadir.config.train import TrainParams
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.samples import Samples


def load_text_encoders(train: TrainParams, device: torch.device) -> TextEncoder:
    """The base's text encoders, on the device or ready to visit it."""
    text = load_text(artifacts.BASE, dtype=text_precision(train))
    if train.text_waits_on_host:
        return replace(text, visits=device)
    return text.to(device)


def warn_of_cut_captions(samples: Samples, text: TextEncoder, captions: CaptionParams) -> None:
    """Say how many captions lose tags, and which, because the text encoders read no further."""
    count = token_counter([text.tokenizer, text.tokenizer_2])
    found = caption_lengths(samples.tags, samples.tag_names, captions, count)
    if warning := found.warning():
        say(f"WARNING train: {warning}")
