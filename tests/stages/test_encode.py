"""Stage encode: only what is missing is encoded, and a source that moved under it is told."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tests.manifests import manifest_table
from tests.training_project import TINY

from nadir.data.latents import LatentReader
from nadir.data.tables import BUCKETS, MANIFEST, write_table
from nadir.ground.files import read_json
from nadir.model.autoencoder import encode_images
from nadir.model.hashing import encoder_hash
from nadir.model.sdxl import load_vae
from nadir.model.tiny import make_tiny
from nadir.stages.encode import main

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = ((64, 64), (96, 64), (64, 64), (64, 64), (64, 96))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_tiny(folder, TINY)
    return folder


@pytest.fixture
def project(tmp_path: Path, base: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    text = params_text.replace("batch_size: 32\n  shard_bytes", "batch_size: 2\n  shard_bytes")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "models").mkdir()
    shutil.copytree(base, tmp_path / "models" / "base")
    monkeypatch.chdir(tmp_path)
    for number, size in enumerate(SIZES):
        paint(tmp_path, number, size)
    describe(tmp_path)
    return tmp_path


def paint(project: Path, number: int, size: tuple[int, int]) -> None:
    """A picture of its own: a flat colour with one bright corner."""
    folder = project / "data" / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), (40 * number) % 256, np.uint8)
    pixels[:20, :20] = (250, 20, 90)
    Image.fromarray(pixels).save(folder / f"{number}.png")


def describe(project: Path, *, only: int | None = None, crop_left: int = 0) -> None:
    """What validate and bucket would write about the pictures: each shrunk by half, uncropped."""
    rows: list[dict[str, Any]] = []
    for path in sorted((project / "data" / "sample").iterdir())[:only]:
        width, height = Image.open(path).size
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"sha256": sha256, "path": path.name, "width": width, "height": height})
    rows.sort(key=lambda row: row["sha256"])
    write_table(manifest_table(rows), project / "data/manifest.parquet", MANIFEST)
    buckets = [
        {
            "sha256": row["sha256"],
            "bucket_width": row["width"] // 2 - crop_left,
            "bucket_height": row["height"] // 2,
            "resize_width": row["width"] // 2,
            "resize_height": row["height"] // 2,
            "crop_left": crop_left,
            "crop_top": 0,
            "retained_area": 1.0,
        }
        for row in rows
    ]
    table = pa.Table.from_pylist(buckets, schema=BUCKETS)
    write_table(table, project / "data/buckets.parquet", BUCKETS)


def latents(project: Path) -> dict[str, torch.Tensor]:
    reader = LatentReader(project / "data" / "latents")
    return {sha: reader.rows([row])[0] for row, sha in enumerate(reader.index["sha256"])}


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal but for what batches of another size do to rounding."""
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=1e-3, atol=1e-4)


def shards(project: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (project / "work/latents").glob("*.safetensors")}


def test_each_latent_is_the_posterior_mean_of_the_fitted_image(project: Path) -> None:
    main()
    reader = LatentReader(project / "data" / "latents")
    assert reader.index["bucket"].value_counts().to_dict() == {"32x32": 3, "48x32": 1, "32x48": 1}
    assert reader.index["sha256"].is_monotonic_increasing
    wide = reader.index.query("bucket == '48x32'").iloc[0]
    assert (wide["original_width"], wide["original_height"]) == (96, 64)
    image = Image.open(project / "data/sample/1.png").resize((48, 32), Image.Resampling.LANCZOS)
    vae = load_vae(project / "models" / "base")
    torch.testing.assert_close(
        latents(project)[wide["sha256"]], encode_images(vae, [image])[0], rtol=1e-3, atol=1e-4
    )
    assert read_json(project / "data/latents/encoder.json") == {"encoder_hash": encoder_hash(vae)}


def test_a_second_run_encodes_nothing_and_gives_the_same_bytes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    first = {p.name: p.read_bytes() for p in (project / "data/latents").iterdir()}
    before = shards(project)
    capsys.readouterr()
    main()
    assert "encode: 5 images, 0 encoded, 5 reused" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in (project / "data/latents").iterdir()} == first
    assert shards(project) == before


def test_one_image_more_encodes_one_image(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    before = shards(project)
    paint(project, 9, (64, 64))
    describe(project)
    main()
    assert "encode: 6 images, 1 encoded, 5 reused" in capsys.readouterr().out
    assert before.items() <= shards(project).items()
    piecewise = latents(project)
    shutil.rmtree(project / "work")
    shutil.rmtree(project / "data/latents")
    main()
    assert_equal(piecewise, latents(project))


def test_an_image_less_keeps_its_shard_but_not_its_row(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    everything = latents(project)
    describe(project, only=4)
    main()
    assert "encode: 4 images, 0 encoded, 4 reused" in capsys.readouterr().out
    fewer = latents(project)
    assert len(fewer) == 4
    assert_equal(fewer, {sha: everything[sha] for sha in fewer})


def test_latents_do_not_depend_on_how_they_are_spread_over_shards(project: Path) -> None:
    main()
    expected = latents(project)
    shutil.rmtree(project / "work")
    shutil.rmtree(project / "data/latents")
    params = (project / "params.yaml").read_text()
    smaller = params.replace("shard_bytes: 268435456", "shard_bytes: 65536")
    smaller = smaller.replace("batch_size: 2\n", "batch_size: 1\n")
    (project / "params.yaml").write_text(smaller)
    main()
    assert_equal(latents(project), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda project: describe(project, crop_left=8),
        lambda project: edit(project, "store: fp32", "store: fp16"),
        lambda project: edit(project, "precision: fp32", "precision: bf16"),
        lambda project: edit(project, "[255, 255, 255]", "[0, 0, 0]"),
        lambda project: make_tiny(
            project / "models/base", TINY.model_copy(update={"seed": 1, "vae_steps": 2})
        ),
    ],
    ids=["crop", "store", "precision", "alpha background", "VAE"],
)
def test_whatever_shapes_a_latent_makes_it_anew(
    project: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None]
) -> None:
    main()
    change(project)
    main()
    assert "encode: 5 images, 5 encoded, 0 reused" in capsys.readouterr().out


def edit(project: Path, old: str, new: str) -> None:
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new))


def test_live_shards_share_their_disk_space_with_the_store(project: Path) -> None:
    main()
    for path in (project / "data/latents").glob("*.safetensors"):
        assert path.samefile(project / "work/latents" / path.name)


def test_shards_of_an_earlier_output_are_adopted_when_the_store_is_gone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    shutil.rmtree(project / "work")
    main()
    assert "encode: 5 images, 0 encoded, 5 reused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: path.unlink(), "the image cannot be read"),
        (lambda path: path.write_bytes(b"other"), "the image has changed since it was validated"),
    ],
)
def test_an_image_that_vanished_or_changed_ends_the_stage_with_its_name(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    break_it: Callable[[Path], None],
    message: str,
) -> None:
    break_it(project / "data/sample/3.png")
    with pytest.raises(SystemExit):
        main()
    error = capsys.readouterr().err
    assert message in error
    assert "3.png" in error
    assert "run the pipeline again" in error
