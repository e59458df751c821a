"""Blockiness sees the grid of JPEG, where it lies, and nothing else."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from nadir.model.sdxl.autoencoder import images_to_tensor, tensor_to_images
from nadir.training.decoder.blockiness import Blockiness, blockiness


def smooth(seed: int = 0, side: int = 64) -> torch.Tensor:
    """Soft noise, [1, 3, side, side] in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, side // 6, side // 6, generator=generator) * 2 - 1
    size = (side, side)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(-1, 1)


def jpeg(pixels: torch.Tensor, quality: int) -> torch.Tensor:
    file = io.BytesIO()
    tensor_to_images(pixels)[0].save(file, "JPEG", quality=quality, subsampling=0)
    return images_to_tensor([Image.open(file)])


def test_the_worse_the_jpeg_the_higher_it_is() -> None:
    picture = smooth()
    found = [blockiness(picture), *(blockiness(jpeg(picture, q)) for q in (50, 20, 5))]
    assert found[0] == pytest.approx(1, abs=0.1)
    assert found == sorted(found)
    assert found[-1] > 2


def test_a_grid_elsewhere_is_not_counted_and_contrast_does_not_matter() -> None:
    blocks = jpeg(smooth(), 5)
    assert blockiness(blocks[..., 3:, 3:]) < blockiness(blocks) / 2
    assert blockiness(0.1 * blocks - 0.5) == pytest.approx(blockiness(blocks))


def test_closed_forms() -> None:
    columns = torch.arange(24)
    assert blockiness((columns // 8).expand(1, 1, 24, 24).float()) == float("inf")
    assert blockiness(torch.zeros(1, 3, 16, 16)) == 1
    # Steps of 2 across the grid and of 1 elsewhere along one axis, none along the other.
    ramp = torch.tensor([0, *(2 if place % 8 == 7 else 1 for place in range(23))]).cumsum(0)
    assert blockiness(ramp.expand(1, 1, 24, 24)) == pytest.approx(2)


def test_pictures_are_pooled() -> None:
    both = Blockiness()
    for quality in (10, 60):
        both.add(jpeg(smooth(quality), quality))
    parts = torch.cat([jpeg(smooth(quality), quality) for quality in (10, 60)])
    assert both.value == pytest.approx(blockiness(parts))
