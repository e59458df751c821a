"""Gives a step the text states of its images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.compute.devices import sent
from nadir.ground.workspace import work_folder
from nadir.training.loader import batch_plan
from nadir.training.text_states.key import FOLDER, states_key
from nadir.training.text_states.making import make_states, variant_captions
from nadir.training.text_states.store import caption_hash
from nadir.training.text_states.variants import CaptionDraw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import torch
    from accelerate import Accelerator
    from numpy.typing import NDArray

    from nadir.config.train import TrainParams
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.samples import Samples
    from nadir.training.stop_request import StopRequest
    from nadir.training.text_states.store import StateStore


class TextStates:
    """The states of every caption that a training may ask for.

    Args:
        store: Holds them.
        places_NV: Row of each sample's variants in the store.
        empty: Row of the empty prompt.
        params: Which variant a step takes.
        dtype: Of the states that are given out.
        device: Where they go.
    """

    def __init__(
        self,
        store: StateStore,
        places_NV: NDArray[np.int64],
        empty: int,
        *,
        params: TrainParams,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._store, self._places_NV, self._empty = store, places_NV, empty
        self._draw, self._dtype, self._device = CaptionDraw(params), dtype, device

    def batch(
        self, step: int, rows: NDArray[np.int64], places: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`hidden_BSD` and `pooled_BP` of some samples at their places of the batch of `step`."""
        numbers = [self._draw.number(step, place) for place in places]
        places_B = np.array(
            [
                self._empty if number is None else self._places_NV[row, number]
                for row, number in zip(rows, numbers, strict=True)
            ]
        )
        hidden_BSD, pooled_BP = self._store.rows(places_B)
        return (
            sent(hidden_BSD, self._device).to(self._dtype),
            sent(pooled_BP, self._device).to(self._dtype),
        )


def load_states(
    samples: Samples,
    params: TrainParams,
    *,
    base: Path,
    text: TextEncoder,
    accelerator: Accelerator,
    steps: int | None = None,
    stop: StopRequest | None = None,
) -> TextStates | None:
    """Make what is missing of the states that `train.text_cache` asks for, and open them all.

    Args:
        samples: What to train on.
        params: `params.yaml` train.
        base: The base model's folder.
        text: Its text encoders.
        accelerator: Says which process this is.
        steps: Make those alone that the first steps see; None makes all.
        stop: Asked while states are made.

    Returns:
        None where `train.text_cache` asks for none.

    Raises:
        NadirError: A state is not finite in fp16, or the training was asked to stop.
    """
    if not params.text_cache:
        return None
    wanted = _first_rows(samples, params, steps) if steps else range(len(samples.positions_N))
    folder = work_folder(FOLDER) / states_key(params, base)
    hashes = np.full((len(samples.positions_N), params.text_cache), b"", "S32")

    def captions() -> Iterable[str]:
        yield ""
        for row in wanted:
            found = variant_captions(samples, params, row)
            hashes[row] = [caption_hash(caption).encode() for caption in found]
            yield from found

    store = make_states(
        iter(captions()),
        folder,
        text=text,
        chunks=params.caption.token_chunks,
        accelerator=accelerator,
        stop=stop,
    )
    places_NV = np.full(hashes.shape, -1, np.int64)
    for row in wanted:
        places_NV[row] = [store.places[key.decode()] for key in hashes[row]]
    return TextStates(
        store,
        places_NV,
        store.places[caption_hash("")],
        params=params,
        dtype=text.text_encoder.dtype,
        device=accelerator.device,
    )


def _first_rows(samples: Samples, params: TrainParams, steps: int) -> list[int]:
    """The samples that the first steps show."""
    plan, found = batch_plan(samples, params), set()
    for step in range(steps):
        bucket, within_B = plan.rank_batch(step, 0, 1)
        found |= set(samples.buckets[bucket][within_B].tolist())
    return sorted(found)
