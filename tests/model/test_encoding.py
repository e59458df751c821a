"""Encoding: exact whatever shares a batch, and tiles that come close to the whole image."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from tests.support.training_project import make_base

from nadir.compute.memory_budget import PixelRoom
from nadir.config.encode import EncodeParams, TilingParams
from nadir.config.reader import read_section
from nadir.model.sdxl.autoencoder import _tile_starts, encode_images
from nadir.model.sdxl.encoding import _encode
from nadir.model.sdxl.networks import load_vae


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def picture(seed: int, width: int = 128, height: int = 128) -> Image.Image:
    """Soft patches of colour."""
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    return patches.resize((width, height), Image.Resampling.BICUBIC)


def tiling(tile_px: int, overlap_px: int) -> TilingParams:
    return TilingParams(above_px=1, tile_px=tile_px, overlap_px=overlap_px)


def error(base: Path, width: int, height: int, form: TilingParams) -> float:
    """Root mean square difference between tiled and whole, in standard deviations of a latent."""
    vae, image = load_vae(base), picture(0, width, height)
    whole, tiled = encode_images(vae, [image]), encode_images(vae, [image], form)
    assert tiled.shape == whole.shape
    return float((tiled - whole).square().mean().sqrt() / whole.std())


def test_one_tile_is_the_whole_image(base: Path) -> None:
    assert error(base, 64, 48, tiling(64, 32)) < 1e-6


def test_overlap_makes_seams_smaller_and_larger_tiles_do_so_too(base: Path) -> None:
    # An untrained encoder; those of a trained one are far smaller.
    bare, blended = error(base, 192, 128, tiling(64, 0)), error(base, 192, 128, tiling(64, 32))
    assert blended < 0.75 * bare
    assert error(base, 192, 128, tiling(96, 32)) < blended
    assert blended < 0.3


def test_tiling_is_deterministic_to_the_bit(base: Path) -> None:
    vae, images = load_vae(base), [picture(1, 160, 96), picture(2, 160, 96)]
    first = encode_images(vae, images, tiling(64, 32))
    assert torch.equal(first, encode_images(vae, images, tiling(64, 32)))


@pytest.mark.parametrize("length", [8, 9, 17, 64, 100])
@pytest.mark.parametrize(("tile", "overlap"), [(8, 0), (8, 4), (8, 3)])
def test_tiles_cover_everything_and_share_at_least_the_overlap(
    length: int, tile: int, overlap: int
) -> None:
    starts = _tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] + tile == length
    assert all(b - a <= tile - overlap for a, b in pairwise(starts))
    assert len(starts) == -(-(length - overlap) // (tile - overlap))


def test_images_open_at_the_same_time_keep_to_the_room_and_large_ones_get_their_turn() -> None:
    room, lock = PixelRoom(100), threading.Lock()
    sizes = [30, 500, 60, 100, 1, 40, 90, 10] * 6
    inside: list[int] = []
    sums: list[int] = []

    def work(pixels: int) -> int:
        with room.take(pixels):
            with lock:
                inside.append(pixels)
                sums.append(sum(inside))
            time.sleep(0.002)
            with lock:
                inside.remove(pixels)
        return pixels

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, sizes)) == sizes
    # One beyond the whole room is alone in it.
    assert set(sums) & {500} == {500}
    assert all(total <= 100 or total == 500 for total in sums)
    assert max(total for total in sums if total != 500) > 60


def test_a_room_is_free_again_after_an_error() -> None:
    room = PixelRoom(10)
    with pytest.raises(ValueError, match="broken"), room.take(10):
        raise ValueError("broken")
    with room.take(10):
        pass


def test_overlap_beyond_half_a_tile_is_refused() -> None:
    with pytest.raises(ValidationError, match="may be half of tile_px at the most"):
        tiling(64, 64)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_latent_is_equal_to_the_bit_whatever_it_is_encoded_with(
    base: Path, root: Path, threads: int
) -> None:
    vae = load_vae(base)
    params = read_section("encode", EncodeParams, root / "params.yaml")
    params = params.model_copy(update={"batch_size": 4})
    row = {"bucket_width": 128, "bucket_height": 128, "path": "x.png"}
    images = [picture(seed) for seed in range(6)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        full = _encode(vae, [row] * 4, images[:4], params)
        mixed = _encode(vae, [row] * 3, [images[5], images[2], images[4]], params)
        alone = _encode(vae, [row], [images[2]], params)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(mixed[1], full[2])
    assert torch.equal(alone[0], full[2])
