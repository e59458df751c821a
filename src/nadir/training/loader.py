"""From the stages' files to batches: latents, captions, micro-conditioning and tag weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nadir.compute.devices import sent
from nadir.data.buckets.batches import BatchPlan, pixel_batches
from nadir.data.tags.caption_facts import about
from nadir.ground.errors import NadirError
from nadir.training import randomness
from nadir.training.losses.objective import Batch
from nadir.training.samples import CROP_LEFT
from nadir.training.text_states.variants import CaptionDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nadir.config.train import TrainParams
    from nadir.data.latents.masks import MaskReader
    from nadir.data.latents.store import LatentReader
    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.losses.timesteps import TimestepSampler
    from nadir.training.samples import Samples
    from nadir.training.text_states.reading import TextStates


def batch_plan(samples: Samples, params: TrainParams) -> BatchPlan:
    """The order in which the samples are shown.

    Args:
        samples: What to train on.
        params: Batch size, its multiple, seed.
    """
    sizes: int | tuple[int, ...] = params.batch_size
    if params.batch_multiple:
        shapes = [samples.time_ids_N6[rows[0], :3:-1].astype(int) for rows in samples.buckets]
        sizes = pixel_batches(
            [(int(width), int(height)) for width, height in shapes],
            params.batch_size,
            params.batch_multiple,
        )
    repeats = None
    if samples.repeats_N is not None:
        repeats = [samples.repeats_N[rows] for rows in samples.buckets]
    return BatchPlan([len(rows) for rows in samples.buckets], sizes, params.seed, repeats)


class BatchLoader:
    """Makes the batch of any step, or one process' part of it.

    Every random choice is a pure function of (seed, step, position in the batch), so the batch
    does not depend on the number of processes or on the steps before.

    Args:
        samples: What to train on.
        reader: The latents.
        scaling: Normalises latents.
        text: Text encoders, on the training device.
        params: Batch size, captions, seed.
        timesteps: Draws the noise levels.
        device: Where batches go.
        states: Text states that are made already; None runs the text encoders for each batch.
        masks: Of the latents; None where the loss is not to be masked.

    Raises:
        NadirError: The loss is to be masked and there is no mask.

    Attributes:
        timesteps: Draws the noise levels.
    """

    def __init__(  # noqa: PLR0913 - each makes a part of a batch
        self,
        samples: Samples,
        *,
        reader: LatentReader,
        scaling: LatentScaling,
        text: TextEncoder,
        params: TrainParams,
        timesteps: TimestepSampler,
        device: torch.device,
        states: TextStates | None = None,
        masks: MaskReader | None = None,
    ) -> None:
        self._samples = samples
        self._reader = reader
        self._scaling = scaling
        self._text = text
        self._states = states
        self._params = params
        self.timesteps = timesteps
        self._device = device
        self._plan = batch_plan(samples, params)
        self._masks = masks
        if params.masked_loss and not masks:
            raise NadirError(
                "no latent has a mask",
                where="params.yaml train.masked_loss",
                fix="set encode.masks to files, alpha or both and run the pipeline again",
            )

    def batch(self, step: int, *, rank: int = 0, ranks: int = 1) -> Batch:
        """The part of `step`'s batch that process `rank` of `ranks` works on.

        Raises:
            NadirError: The batch cannot be split evenly.
        """
        seed = self._params.seed
        bucket, within_B = self._plan.rank_batch(step, rank, ranks)
        rows_B = self._samples.buckets[bucket][within_B]
        places = range(rank * len(rows_B), (rank + 1) * len(rows_B))
        positions_B = self._samples.positions_N[rows_B]
        time_ids_B6 = self._samples.time_ids_N6[rows_B]
        flipped_B = self._flipped(step, positions_B, places)
        time_ids_B6[flipped_B, CROP_LEFT] = self._reader.flip_crop_left(positions_B[flipped_B])
        latents_BCHW = self._reader.rows(positions_B, flipped_B)
        shape = (latents_BCHW.shape[1], latents_BCHW.shape[2], latents_BCHW.shape[3])
        size = self._plan.batch_sizes[bucket]
        timesteps_B = self.timesteps.draw(seed, step, size, self._samples.area_px(rows_B))
        device = self._device
        hidden_BSD, pooled_BP, tokens_BECS = self._conditioning(step, rows_B, places)
        return Batch(
            latents_BCHW=self._scaling.normalise(sent(latents_BCHW, device).float()),
            noise_BCHW=sent(randomness.noise(seed, step, places, shape), device),
            timesteps_B=timesteps_B[places.start : places.stop],
            hidden_BSD=hidden_BSD,
            pooled_BP=pooled_BP,
            time_ids_B6=sent(torch.from_numpy(time_ids_B6), device),
            weights_B=sent(torch.from_numpy(self._samples.weights_N[rows_B]), device),
            tokens_BECS=tokens_BECS,
            pixel_weights_B1HW=self._pixel_weights(positions_B, flipped_B, shape[1:]),
        )

    def _pixel_weights(
        self,
        positions_B: NDArray[np.int64],
        flipped_B: NDArray[np.bool_],
        size: tuple[int, int],
    ) -> torch.Tensor | None:
        """Unmasked + (1 - unmasked) x mask; None without `train.masked_loss`."""
        params = self._params.masked_loss
        if params is None or self._masks is None:
            return None
        masks_B1HW = sent(self._masks.rows(positions_B, flipped_B, size), self._device)
        return params.unmasked + (1 - params.unmasked) * masks_B1HW

    def _conditioning(
        self, step: int, rows_B: NDArray[np.int64], places: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Text states and pooled vectors, or the tokens alone where text encoders are trained."""
        if self._states:
            return *self._states.batch(step, rows_B, places), None
        captions = self.captions(step, rows_B, places)
        chunks = self._params.caption.token_chunks
        if self._params.text_encoders is None:
            return *self._text.encode(captions, chunks), None
        none_B0 = torch.zeros(len(captions), 0)
        return none_B0, none_B0, sent(self._text.tokens(captions, chunks), self._device)

    def drawn(self, step: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        """What the whole batch of `step` is made of, whatever its values are.

        Returns:
            sha256 of each image, timesteps_B, and whether each latent is finite.
        """
        bucket, within_B = self._plan.rank_batch(step, 0, 1)
        rows_B = self._samples.buckets[bucket][within_B]
        positions_B = self._samples.positions_N[rows_B]
        size = self._plan.batch_sizes[bucket]
        latents_BCHW = self._reader.rows(positions_B, self._flipped(step, positions_B, range(size)))
        area_px = self._samples.area_px(rows_B)
        timesteps_B = self.timesteps.draw(self._params.seed, step, size, area_px)
        finite_B = latents_BCHW.isfinite().flatten(1).all(dim=1)
        return [self._samples.hashes[row] for row in rows_B.tolist()], timesteps_B, finite_B

    def _flipped(
        self, step: int, positions_B: NDArray[np.int64], places: Sequence[int]
    ) -> NDArray[np.bool_]:
        """Which images of the batch are shown mirrored."""
        coins: NDArray[np.bool_] = randomness.flips(self._params.seed, step, places)
        return self._reader.has_flip(positions_B) & coins

    @property
    def epoch_images(self) -> int:
        """Images of one epoch, repetitions included."""
        return self._plan.epoch_images // self._samples.epochs_a_pass

    def images_before(self, step: int) -> int:
        """Images in all batches before `step`, repetitions included."""
        return self._plan.images_before(step)

    def captions(self, step: int, rows: NDArray[np.int64], places: Sequence[int]) -> list[str]:
        """Prompts of some samples at `step`, as `params.caption` and `params.text_cache` say."""
        draw = CaptionDraw(self._params)
        return [
            draw.at(
                step,
                place,
                self._samples.hashes[row],
                self._samples.prompt_tags(int(row)),
                about(self._samples.facts, int(self._samples.tag_images_N[row])),
            )
            for row, place in zip(rows, places, strict=True)
        ]
