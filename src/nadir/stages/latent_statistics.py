"""Stage `latent_statistics`: mean and standard deviation of each latent channel (paper App. B)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from nadir.config.latent_statistics import LatentStatisticsParams
from nadir.config.reader import read_section
from nadir.data.latents.moments import ChannelMoments, ImageMoments, standard_errors
from nadir.data.latents.store import LatentReader
from nadir.data.tables import MANIFEST, read_table
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.events import Progress, emit, say
from nadir.ground.files import file_hash, read_json, write_json
from nadir.stages.runner import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_IMAGES_AT_ONCE = 256


def work() -> None:
    """Write the statistics of the latents with their provenance.

    Raises:
        NadirError: No latent to measure, or a channel that never varies.
    """
    params = read_section("latent_statistics", LatentStatisticsParams)
    split = params.split
    reader = LatentReader(artifacts.LATENTS)
    population = _positions(reader, split)
    # sha256 does not know what an image shows, so its first ones are a random sample, and one that
    # hardly changes when images are added.
    # An image at several resolutions has several rows, one after the other, drawn together.
    image_P = reader.image_numbers()[population]
    image_P = np.unique(image_P, return_inverse=True)[1]
    of_images = int(image_P[-1]) + 1 if len(image_P) else 0
    drawn = of_images if params.sample_images is None else min(params.sample_images, of_images)
    positions = population[image_P < drawn]
    if not len(positions):
        raise NadirError(
            f"no latents of split `{split}`",
            where=str(artifacts.LATENTS),
            fix=f"{artifacts.BUCKET_NUMBERS} says what was excluded; "
            "latent_statistics.split may be `all`",
        )
    moments, errors = measure(reader, positions, of_images if drawn < of_images else None)
    if not (moments.std > 0).all():
        raise NadirError(
            f"latent channels {np.flatnonzero(moments.std <= 0).tolist()} never vary",
            where=str(artifacts.LATENTS),
            fix="check the VAE of base_model.source; its encoder gives constant output",
        )
    statistics = {
        "mean": moments.mean.tolist(),
        "std": moments.std.tolist(),
        "standard_error": errors,
        "images": drawn,
        "of_images": of_images,
        "pixels": moments.pixels,
        "vae_hash": _encoder_hash(),
        "manifest_hash": file_hash(artifacts.MANIFEST),
        "split": split,
    }
    write_json(artifacts.LATENT_STATISTICS, statistics)
    say(
        f"latent_statistics: {drawn} images, mean {np.round(moments.mean, 3).tolist()}, "
        f"std {np.round(moments.std, 3).tolist()}"
    )
    if errors is not None:
        mean, std = (np.round(errors[name], 4).tolist() for name in ("mean", "std"))
        say(
            f"latent_statistics: a sample of {of_images} images; standard error of the mean "
            f"{mean}, of the std {std}"
        )
    emit("result", stage="latent_statistics", **statistics)


def measure(
    reader: LatentReader, positions: NDArray[np.int64], population: int | None = None
) -> tuple[ChannelMoments, dict[str, list[float]] | None]:
    """Moments of some rows of the index, and the standard errors of their mean and std.

    The order of summation follows the index alone, so the result does not depend on how rows are
    spread over shards.

    Args:
        reader: The latents.
        positions: Rows of its index.
        population: How many images theirs are a sample of; None when they are all.

    Returns:
        The moments, and `mean` and `std` of each channel's standard error; None without a sample.
    """
    total: ChannelMoments | None = None
    images: list[ImageMoments] = []
    progress = Progress("latent_statistics", len(positions), "latents")
    parts = list(_parts(reader, positions))
    for part in parts:
        latents = reader.arrays(part).astype(np.float32)
        moments = ChannelMoments.of(latents)
        total = moments if total is None else total.merge(moments)
        if population is not None:
            images.append(ImageMoments.of(latents))
        progress.advance(len(part))
    if total is None:
        return ChannelMoments.none(0), None
    if population is None:
        return total, None
    sample = ImageMoments.together(images).of_images(reader.image_numbers()[np.concatenate(parts)])
    mean, std = standard_errors(sample, total, population)
    return total, {"mean": mean.tolist(), "std": std.tolist()}


def _parts(reader: LatentReader, positions: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Pieces of `positions` that share a bucket, buckets in order of name."""
    buckets = reader.table["bucket"].to_numpy()[positions]
    for bucket in sorted(set(buckets)):
        members = positions[buckets == bucket]
        for start in range(0, len(members), _IMAGES_AT_ONCE):
            yield members[start : start + _IMAGES_AT_ONCE]


def _positions(reader: LatentReader, split: str) -> NDArray[np.int64]:
    """Rows of the index whose image is in the split."""
    if split == "all":
        return np.arange(len(reader))
    images = read_table(artifacts.MANIFEST, MANIFEST, columns=["sha256", "split"])
    chosen = images.filter(pc.equal(images["split"], split))["sha256"]
    found = pc.is_in(reader.table["sha256"], value_set=chosen.combine_chunks())
    return np.flatnonzero(found.to_numpy())


def _encoder_hash() -> str:
    path = artifacts.LATENTS / "encoder.json"
    if not path.is_file():
        raise NadirError(
            "the latents do not say which encoder made them",
            where=str(path),
            fix="run `dvc repro encode` again",
        )
    return str(read_json(path)["encoder_hash"])


def main() -> None:
    """Entry point."""
    run("latent_statistics", work)


if __name__ == "__main__":
    main()
