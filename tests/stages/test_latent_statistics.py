"""Stage latent_statistics: right numbers with their provenance, whatever the sharding."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.support.manifests import manifest_table

from nadir.data.latents.store import LatentStore
from nadir.data.tables import LATENT_INDEX, MANIFEST, write_table
from nadir.ground.files import file_hash, write_json
from nadir.stages.latent_statistics import main

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = 40
SHAPES = {"48x32": (4, 6), "32x48": (6, 4), "40x40": (5, 5)}


def split_of(number: int) -> str:
    return "holdout" if number % 5 == 0 else "train"


def bucket_of(number: int) -> str:
    return list(SHAPES)[number % 3]


def latent_of(number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    scale = torch.tensor([9.9, 6.3, 7.6, 6.0])[:, None, None]
    return torch.randn(4, *SHAPES[bucket_of(number)], generator=generator) * scale + 3


def write_latents(folder: Path, rows_per_shard: int) -> None:
    """All images' latents, `rows_per_shard` of a bucket in a shard, and their index."""
    store, records = LatentStore(folder / "data/latents"), []
    for bucket, (height, width) in SHAPES.items():
        members = [number for number in range(IMAGES) if bucket_of(number) == bucket]
        for start in range(0, len(members), rows_per_shard):
            part = members[start : start + rows_per_shard]
            latents = torch.stack([latent_of(number) for number in part])
            shard = store.write_shard(bucket, [f"k{number}" for number in part], latents)
            records += [
                {
                    "key": f"k{number}",
                    "sha256": f"{number:064x}",
                    "shard": shard,
                    "row": row,
                    "bucket": bucket,
                    "bucket_width": width * 8,
                    "bucket_height": height * 8,
                    "original_width": 100,
                    "original_height": 100,
                    "crop_left": 0,
                    "crop_top": 0,
                }
                for row, number in enumerate(part)
            ]
    records.sort(key=lambda record: str(record["sha256"]))
    index = pa.Table.from_pylist(records, schema=LATENT_INDEX)
    write_table(index, folder / "data/latents/index.parquet", LATENT_INDEX)
    write_json(folder / "data/latents/encoder.json", {"encoder_hash": "feed"})


@pytest.fixture
def project(tmp_path: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params_text, encoding="utf-8")
    table = manifest_table({"split": split_of(number)} for number in range(IMAGES))
    write_table(table, tmp_path / "data/manifest.parquet", MANIFEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result(project: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        (project / "data/latent_statistics.json").read_text(encoding="utf-8")
    )
    return found


def expected(split: str) -> np.ndarray:
    """[C, pixels] of all images of a split."""
    numbers = [number for number in range(IMAGES) if split in ("all", split_of(number))]
    return np.concatenate([latent_of(n).double().numpy().reshape(4, -1) for n in numbers], axis=1)


def test_statistics_are_those_of_all_training_pixels_and_name_their_origin(project: Path) -> None:
    write_latents(project, rows_per_shard=5)
    main()
    pixels, found = expected("train"), result(project)
    np.testing.assert_allclose(found["mean"], pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["std"], pixels.std(axis=1), rtol=1e-12)
    assert found["pixels"] == pixels.shape[1]
    assert found["images"] == 32
    assert found["split"] == "train"
    assert found["vae_hash"] == "feed"
    assert found["manifest_hash"] == file_hash(project / "data/manifest.parquet")


def test_the_split_may_be_all_images(project: Path) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(
        text.replace("split: train", "split: all"), encoding="utf-8"
    )
    write_latents(project, rows_per_shard=5)
    main()
    assert result(project)["images"] == IMAGES
    np.testing.assert_allclose(result(project)["mean"], expected("all").mean(axis=1), rtol=1e-12)


def test_a_sample_is_drawn_by_hash_and_states_its_standard_error(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_latents(project, rows_per_shard=5)
    main()
    whole = result(project)
    assert whole["standard_error"] is None
    assert whole["of_images"] == whole["images"] == 32
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(
        text.replace("sample_images: null", "sample_images: 16"), encoding="utf-8"
    )
    main()
    found = result(project)
    assert (found["images"], found["of_images"]) == (16, 32)
    numbers = [number for number in range(IMAGES) if split_of(number) == "train"][:16]
    pixels = np.concatenate([latent_of(n).double().numpy().reshape(4, -1) for n in numbers], axis=1)
    np.testing.assert_allclose(found["mean"], pixels.mean(axis=1), rtol=1e-12)
    for name in ("mean", "std"):
        errors = np.asarray(found["standard_error"][name])  # type: ignore[index]
        assert (errors > 0).all()
        assert (np.abs(np.subtract(found[name], whole[name])) < 4 * errors).all()  # type: ignore[call-overload]
    assert "a sample of 32 images; standard error of the mean [" in capsys.readouterr().out


def test_the_bytes_do_not_depend_on_how_rows_are_spread_over_shards(project: Path) -> None:
    write_latents(project, rows_per_shard=2)
    main()
    first = (project / "data/latent_statistics.json").read_bytes()
    write_latents(project, rows_per_shard=9)
    main()
    assert (project / "data/latent_statistics.json").read_bytes() == first


def test_a_channel_that_never_varies_stops_the_stage(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latents = torch.stack([latent_of(number) for number in range(0, 9, 3)])
    latents[:, 2] = 1.0
    shard = LatentStore(project / "data/latents").write_shard("48x32", ["a", "b", "c"], latents)
    write_latents(project, rows_per_shard=40)
    index = pa.Table.from_pylist(
        [
            {
                "key": key, "sha256": f"{row + 1:064x}", "shard": shard, "row": row,
                "bucket": "48x32", "bucket_width": 48, "bucket_height": 32,
                "original_width": 1, "original_height": 1, "crop_left": 0, "crop_top": 0,
            }
            for row, key in enumerate("abc")
        ],
        schema=LATENT_INDEX,
    )  # fmt: skip
    write_table(index, project / "data/latents/index.parquet", LATENT_INDEX)
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "latent channels [2] never vary" in capsys.readouterr().err


def test_an_index_without_training_images_stops_the_stage(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_latents(project, rows_per_shard=5)
    empty = LATENT_INDEX.empty_table()
    write_table(empty, project / "data/latents/index.parquet", LATENT_INDEX)
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "no latents of split `train`" in capsys.readouterr().err


def test_latents_of_an_unknown_encoder_stop_the_stage(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_latents(project, rows_per_shard=5)
    (project / "data/latents/encoder.json").unlink()
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "encoder.json: the latents do not say which encoder made them" in capsys.readouterr().err
