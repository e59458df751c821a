"""Makes the text states that are missing, shared out among the processes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from accelerate.utils import broadcast_object_list

from nadir.data.tags.caption_facts import about
from nadir.ground.errors import NadirError
from nadir.ground.events import Progress, say
from nadir.model.sdxl.text import visiting
from nadir.training.stop_request import stopped_early
from nadir.training.text_states.store import (
    DTYPE,
    FILE_BYTES,
    StateStore,
    caption_hash,
    state_bytes,
    sweep,
    write_states,
    writing,
)
from nadir.training.text_states.variants import CaptionDraw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from accelerate import Accelerator

    from nadir.config.train import TrainParams
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.samples import Samples
    from nadir.training.stop_request import StopRequest

_AT_ONCE = 16


def variant_captions(samples: Samples, params: TrainParams, row: int) -> list[str]:
    """All captions that one sample can have at a step, the empty one aside."""
    draw, tags = CaptionDraw(params), samples.prompt_tags(row)
    known = about(samples.facts, int(samples.tag_images_N[row]))
    return [
        draw.variant(number, samples.hashes[row], tags, known)
        for number in range(params.text_cache or 0)
    ]


def make_states(
    captions: Iterator[str],
    folder: Path,
    *,
    text: TextEncoder,
    chunks: int,
    accelerator: Accelerator,
    stop: StopRequest | None,
) -> StateStore:
    """Encode the captions whose states are not in the folder, each process its part.

    Args:
        captions: With repetitions; all processes give the same ones.
        folder: Of the states.
        text: The text encoders, which are on the device meanwhile.
        chunks: Of 77 tokens that are read.
        accelerator: Says which process this is.
        stop: Asked before each file.

    Returns:
        The folder with the states of all captions.

    Raises:
        NadirError: A state is not finite in fp16, or the training was asked to stop.
    """
    store = _seen_alike(folder, accelerator)
    missing = {key: one for one in captions if (key := caption_hash(one)) not in store.places}
    if missing:
        with writing(folder):
            _make(list(missing.items()), folder, text, chunks, accelerator, stop)
        accelerator.wait_for_everyone()
        store = StateStore(folder)
    return store


def _seen_alike(folder: Path, accelerator: Accelerator) -> StateStore:
    """What the first process finds there, for all, so that all share out the same captions.

    Another training may write to the folder at any moment.
    """
    if accelerator.is_main_process:
        sweep(folder)
    if accelerator.num_processes == 1:
        return StateStore(folder)
    first = StateStore(folder) if accelerator.is_main_process else None
    (names,) = broadcast_object_list([first.names if first else None])
    return first or StateStore(folder, names)


def _make(
    missing: Sequence[tuple[str, str]],
    folder: Path,
    text: TextEncoder,
    chunks: int,
    accelerator: Accelerator,
    stop: StopRequest | None,
) -> None:
    row = state_bytes(77 * chunks, text.hidden_size, text.pooled_size)
    ranks = accelerator.num_processes
    share = min(FILE_BYTES // row // _AT_ONCE, math.ceil(len(missing) / ranks / _AT_ONCE))
    size = max(share, 1) * _AT_ONCE
    parts = [missing[at : at + size] for at in range(0, len(missing), size)]
    own = parts[accelerator.process_index :: ranks]
    if accelerator.is_main_process:
        disk = len(missing) * row / 1e9
        say(f"train: {len(missing)} captions are encoded once, {disk:.2f} GB in {folder}")
    progress = Progress("train", sum(map(len, own)), "captions encoded")
    with visiting(text.visits, text.text_encoder, text.text_encoder_2):
        there = replace(text, visits=None)
        for part in own:
            if stop and stop.requested:
                raise stopped_early()
            keys, prompts = zip(*part, strict=True)
            states = [states_of(there, prompts[at : at + _AT_ONCE], chunks)
                      for at in range(0, len(prompts), _AT_ONCE)]  # fmt: skip
            hidden, pooled = (torch.cat(tensors) for tensors in zip(*states, strict=True))
            write_states(folder, keys, hidden, pooled)
            progress.advance(len(part))


def states_of(
    text: TextEncoder, prompts: Sequence[str], chunks: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """States of at most 16 prompts in fp16 on the CPU, the same whatever is encoded with them.

    The last digits depend on how many are encoded at once, so there are always 16.

    Raises:
        NadirError: A state is not finite in fp16.
    """
    filled = [*prompts, *[""] * (_AT_ONCE - len(prompts))]
    made = [tensor[: len(prompts)].to("cpu", DTYPE) for tensor in text.encode(filled, chunks)]
    for row, prompt in enumerate(prompts):
        if not all(bool(tensor[row].isfinite().all()) for tensor in made):
            raise NadirError(
                f"the text states of `{prompt[:60]}` are not finite, or beyond what fp16 holds",
                where="train.text_cache",
                fix="set train.text_cache to null; if the loss is not a number then, the base "
                "model's text encoders are damaged",
            )
    return made[0], made[1]
