"""Claims about buckets, batches and prompts: computed on the reproduction's data, untrained."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from nadir.data.buckets.batches import BatchPlan
from nadir.data.tables import BUCKETS, MANIFEST, read_table
from nadir.ground import artifacts
from nadir.model.sdxl.networks import load_text, load_unet

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import UNet2DConditionModel

_PICTURES = 200
_REPEATS = 3
_FACTOR = 2  # pixels a latent, by side
_CHUNKS = 3
_STEPS = 997


def retained_area(data: Path) -> list[float]:
    """Share of each picture that its bucket keeps, less what a centred square would (0-1)."""
    kept = read_table(data / artifacts.BUCKETS, BUCKETS, ["sha256", "retained_area"]).to_pylist()
    sizes = {
        row["sha256"]: (row["width"], row["height"])
        for row in read_table(
            data / artifacts.MANIFEST, MANIFEST, ["sha256", "width", "height"]
        ).to_pylist()
    }
    return [
        row["retained_area"] - min(sizes[row["sha256"]]) / max(sizes[row["sha256"]])
        for row in kept[:_PICTURES]
    ]


def saved_time(data: Path) -> list[float]:
    """CPU time of a training step that buckets save beside pictures padded to one square (0-1).

    The square holds every bucket; each repeat makes a forward and a backward pass of each size.
    """
    unet, buckets = load_unet(data / artifacts.BASE), _buckets(data)
    side = max(max(size) for size in buckets)
    _step(unet, (side, side))
    return [
        1 - sum(share * _step(unet, size)[0] for size, share in buckets.items())
        / _step(unet, (side, side))[0]
        for _ in range(_REPEATS)
    ]  # fmt: skip


def saved_memory(data: Path) -> list[float]:
    """Bytes kept for the backward pass that buckets save beside that square (0-1), by bucket."""
    unet, buckets = load_unet(data / artifacts.BASE), _buckets(data)
    side = max(max(size) for size in buckets)
    padded = _step(unet, (side, side))[1]
    return [1 - _step(unet, size)[1] / padded for size in buckets]


def even_visits(data: Path) -> list[float]:
    """2 less the spread of visit counts within a bucket, over some epochs of this dataset."""
    sizes = Counter(_places(data))
    names = sorted(sizes)
    plan = BatchPlan([sizes[name] for name in names], 6, 0)
    visits: list[Counter[int]] = [Counter() for _ in names]
    for step in range(_STEPS):
        bucket, positions = plan.batch(step)
        visits[bucket].update(int(place) for place in positions)
    return [
        2.0 - (max(seen.values()) - min(seen.get(place, 0) for place in range(sizes[name])))
        for name, seen in zip(names, visits, strict=True)
    ]


def long_prompts(data: Path) -> list[float]:
    """How far a tag in the last of three chunks moves the text states, where one chunk is blind.

    The difference of states (mean absolute) with three chunks, less that with one.
    """
    text = load_text(data / artifacts.BASE)
    words = ["1girl", "solo", "smile", "dress", "blush", "hat", "cat", "tree", "sky", "book"]
    values = []
    for tag in ("red_hair", "blue_hair", "black_background", "white_background", "glasses"):
        filled = ", ".join(words * 9)
        with torch.no_grad():
            pairs = [
                text.encode([f"{filled}, {tag}", filled], chunks)[0] for chunks in (_CHUNKS, 1)
            ]
        moved, blind = (float((pair[0] - pair[1]).abs().mean()) for pair in pairs)
        values.append(moved - blind)
    return values


def _places(data: Path) -> list[tuple[int, int]]:
    columns = ["bucket_width", "bucket_height"]
    rows = read_table(data / artifacts.BUCKETS, BUCKETS, columns).to_pylist()
    return [(row["bucket_width"], row["bucket_height"]) for row in rows]


def _buckets(data: Path) -> dict[tuple[int, int], float]:
    """Share of the pictures by size in pixels."""
    counts = Counter(_places(data))
    return {size: count / sum(counts.values()) for size, count in counts.items()}


def _step(unet: UNet2DConditionModel, size: tuple[int, int]) -> tuple[float, int]:
    """CPU seconds and bytes kept of a forward and backward pass of six pictures of this size."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    width, height = size
    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    latents = torch.randn(6, config.in_channels, height // _FACTOR, width // _FACTOR)
    begin = time.process_time()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = unet(
            latents,
            torch.full((6,), 500),
            torch.zeros(6, 77, config.cross_attention_dim),
            added_cond_kwargs={
                "text_embeds": torch.zeros(6, pooled),
                "time_ids": torch.zeros(6, 6),
            },
            return_dict=False,
        )[0]
    output.square().mean().backward()
    unet.zero_grad()
    return time.process_time() - begin, int(np.sum(list(kept.values())))
