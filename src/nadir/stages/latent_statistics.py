"""Stage `latent_statistics`: mean and standard deviation of each latent channel (paper App. B)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from nadir.config.encode import LatentStatisticsParams
from nadir.config.reader import read_section
from nadir.data.latents import LatentReader
from nadir.data.statistics import ChannelMoments
from nadir.data.tables import MANIFEST, read_table
from nadir.ground.errors import NadirError
from nadir.ground.events import Progress, emit, say
from nadir.ground.files import file_hash, read_json, write_json
from nadir.stages.runner import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_MANIFEST = Path("data/manifest.parquet")
_LATENTS = Path("data/latents")
_IMAGES_AT_ONCE = 256


def work() -> None:
    """Write the statistics of the latents with their provenance.

    Raises:
        NadirError: No latent to measure, or a channel that never varies.
    """
    split = read_section("latent_statistics", LatentStatisticsParams).split
    reader = LatentReader(_LATENTS)
    positions = _positions(reader, split)
    if not len(positions):
        raise NadirError(
            f"no latents of split `{split}`",
            where=str(_LATENTS),
            fix="reports/buckets.json says what was excluded; latent_statistics.split may be `all`",
        )
    moments = measure(reader, positions)
    if not (moments.std > 0).all():
        raise NadirError(
            f"latent channels {np.flatnonzero(moments.std <= 0).tolist()} never vary",
            where=str(_LATENTS),
            fix="check the VAE of base_model.source; its encoder gives constant output",
        )
    statistics = {
        "mean": moments.mean.tolist(),
        "std": moments.std.tolist(),
        "images": moments.images,
        "pixels": moments.pixels,
        "vae_hash": _encoder_hash(),
        "manifest_hash": file_hash(_MANIFEST),
        "split": split,
    }
    write_json(Path("data/latent_statistics.json"), statistics)
    say(
        f"latent_statistics: {moments.images} images, mean {np.round(moments.mean, 3).tolist()}, "
        f"std {np.round(moments.std, 3).tolist()}"
    )
    emit("result", stage="latent_statistics", **statistics)


def measure(reader: LatentReader, positions: NDArray[np.int64]) -> ChannelMoments:
    """Moments of some rows of the index.

    The order of summation follows the index alone, so the result does not depend on how rows are
    spread over shards.
    """
    total: ChannelMoments | None = None
    progress = Progress("latent_statistics", len(positions), "images")
    for part in _parts(reader, positions):
        moments = ChannelMoments.of(reader.rows(part).numpy())
        total = moments if total is None else total.merge(moments)
        progress.advance(len(part))
    return total or ChannelMoments.none(0)


def _parts(reader: LatentReader, positions: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Pieces of `positions` that share a bucket, buckets in order of name."""
    buckets = reader.index["bucket"].to_numpy()[positions]
    for bucket in sorted(set(buckets)):
        members = positions[buckets == bucket]
        for start in range(0, len(members), _IMAGES_AT_ONCE):
            yield members[start : start + _IMAGES_AT_ONCE]


def _positions(reader: LatentReader, split: str) -> NDArray[np.int64]:
    """Rows of the index whose image is in the split."""
    if split == "all":
        return np.arange(len(reader))
    images = read_table(_MANIFEST, MANIFEST, columns=["sha256", "split"])
    chosen = images.filter(pc.equal(images["split"], split))["sha256"].to_pandas()
    return np.flatnonzero(reader.index["sha256"].isin(chosen).to_numpy())


def _encoder_hash() -> str:
    path = _LATENTS / "encoder.json"
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
