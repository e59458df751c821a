"""The sample dataset as a folder: pictures with tags beside them, and a few bad files."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.synthetic.draw import draw
from nadir.synthetic.files import FORMATS, one_pixel, picture, truncated
from nadir.synthetic.sampling import sample_scene
from nadir.synthetic.tags import scene_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from PIL import Image

MARKER = ".nadir-sample"
"""Names a folder as made by this generator, so that it may be replaced."""

_BAD = {
    0.15: "truncated",
    0.31: "duplicate",
    0.47: "no_tags",
    0.58: "one_pixel",
    0.71: "truncated",
    0.83: "empty_tags",
}
"""Where in the dataset, as a share of it, which fault lies."""
_FEWEST_FOR_FAULTS = 50
_CHUNK = 16


def draw_scene(
    rng: random.Random, tags: Iterable[str] = (), *, size: tuple[int, int] | None = None
) -> tuple[Image.Image, list[str]]:
    """Draw one picture by chance.

    Args:
        rng: The source of chance; equal states give equal pictures.
        tags: Tags that the picture should have; those the generator does not know have no effect.
        size: Width and height in pixels; by chance when left out.

    Returns:
        The RGB picture and all of its tags.
    """
    scene = sample_scene(rng, tags, size=size)
    return draw(scene), scene_tags(scene)


def faults(images: int) -> dict[int, str]:
    """Which of the dataset's files are bad, and how; small datasets have none."""
    if images < _FEWEST_FOR_FAULTS:
        return {}
    return {int(share * images): fault for share, fault in _BAD.items()}


def sample_file(index: int, *, seed: int, images: int) -> dict[str, bytes]:
    """The files that stand for one number of the dataset.

    Args:
        index: 0 to images - 1.
        seed: The dataset's seed.
        images: The dataset's size, which decides where the bad files lie.

    Returns:
        File name to content: the picture, and its sidecar where there is one.
    """
    fault = faults(images).get(index, "")
    # A duplicate copies the picture before it, so it is drawn from that one's random numbers.
    rng = random.Random(f"nadir-sample:{seed}:{index - (fault == 'duplicate')}")
    scene = sample_scene(rng)
    ending = rng.choices(list(FORMATS), list(FORMATS.values()))[0]
    if "jpeg_artifacts" in scene.meta:
        ending = "jpg"
    content, tags = picture(scene, ending)
    if fault == "truncated":
        content = truncated(content)
    elif fault == "one_pixel":
        content, ending = one_pixel(), "png"
    name = f"{index:06d}"
    files = {f"{name}.{ending}": content}
    if fault != "no_tags":
        files[f"{name}.txt"] = b"" if fault == "empty_tags" else tags.encode()
    return files


def make_dataset(folder: Path, images: int, seed: int, *, workers: int = 0) -> None:
    """Fill a folder with the sample dataset; the same arguments give the same bytes.

    The folder appears whole or not at all. One made earlier is replaced.

    Args:
        folder: Where to; must be absent, empty or made by this function.
        images: Number of pictures, the bad ones among them.
        seed: Chooses the pictures.
        workers: Processes; 0 takes every core. Does not change the result.

    Raises:
        NadirError: `images` is below 1, or the folder holds something else.
    """
    if images < 1:
        raise NadirError(f"cannot make {images} images", where="--images", fix="ask for 1 or more")
    _check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        (scratch / MARKER).write_text(
            "Made by `nadir sample-data`, which may replace this folder.\n"
        )
        _write_all(partial(_write, scratch, seed=seed, images=images), images, workers)
        scratch.chmod(0o755)
        _replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_free(folder: Path) -> None:
    if folder.is_file():
        raise NadirError("this is a file", where=str(folder), fix="name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise NadirError(
            "the folder is not empty, and nothing shows that its files are sample data",
            where=str(folder),
            fix="name a new folder",
        )


def _write(folder: Path, index: int, *, seed: int, images: int) -> None:
    for name, content in sample_file(index, seed=seed, images=images).items():
        (folder / name).write_bytes(content)


def _write_all(write: Callable[[int], None], images: int, workers: int) -> None:
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1 or images <= 2 * _CHUNK:
        for index in range(images):
            write(index)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for _ in pool.map(write, range(images), chunksize=_CHUNK):
            pass


def _replace(scratch: Path, folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
    scratch.rename(folder)
