"""Crops are a function of seed and step, lie anywhere, and show every image equally often."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from nadir.config.decoder import DecoderParams
from nadir.config.reader import read_section
from nadir.training.decoder.crops import Crops

WIDTH, HEIGHT = 40, 24


@pytest.fixture(scope="module")
def params(pytestconfig: pytest.Config) -> DecoderParams:
    usual = read_section("decoder", DecoderParams, pytestconfig.rootpath / "params.yaml")
    return usual.model_copy(update={"steps": 100, "batch_size": 2, "crop_px": 16})


def rows(*sizes: tuple[int, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"number": i, "bucket_width": w, "bucket_height": h, "width": w, "height": h}
            for i, (w, h) in enumerate(sizes)
        ]
    )


def numbered(row: Any) -> Image.Image:
    """Red is the image's number, green the column, blue the row of each pixel."""
    y, x = np.mgrid[: row["bucket_height"], : row["bucket_width"]]
    return Image.fromarray(np.stack([0 * x + row["number"], x, y], axis=-1).astype(np.uint8))


def crops(params: DecoderParams, *sizes: tuple[int, int], workers: int = 2) -> Crops:
    return Crops(rows(*(sizes or ((WIDTH, HEIGHT),) * 3)), numbered, params, workers=workers)


def corners(batch_BCHW: torch.Tensor) -> list[tuple[int, int, int]]:
    """(image, left, top) of each crop."""
    first = ((batch_BCHW[:, :, 0, 0] + 1) * 127.5).round().int()
    return [(int(number), int(x), int(y)) for number, x, y in first]


def test_a_step_has_its_crops_whatever_came_before_and_however_many_open_them(
    params: DecoderParams,
) -> None:
    with crops(params) as whole, crops(params, workers=1) as late:
        seen = [whole.batch(step) for step in range(6)]
        assert torch.equal(late.batch(4), seen[4])
        assert torch.equal(late.batch(5), seen[5])
    with crops(params.model_copy(update={"seed": 1})) as other:
        assert not torch.equal(other.batch(0), seen[0])
    assert seen[0].shape == (2, 3, 16, 16)


def test_crops_lie_anywhere_and_images_come_equally_often(params: DecoderParams) -> None:
    with crops(params) as every:
        found = [corner for step in range(90) for corner in corners(every.batch(step))]
    assert set(Counter(number for number, _, _ in found).values()) == {60}
    assert {x for _, x, _ in found} == set(range(WIDTH - 16 + 1))
    assert {y for _, _, y in found} == set(range(HEIGHT - 16 + 1))


def test_images_that_hold_no_crop_are_passed_over(params: DecoderParams) -> None:
    with crops(params, (40, 8), (16, 16), (8, 40)) as every:
        assert corners(every.batch(0)) == [(1, 0, 0)] * 2
