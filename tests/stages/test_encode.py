"""Stage encode: only what is missing is encoded, and a source that moved under it is told."""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.manifests import manifest_table
from tests.training_project import TINY

from nadir.data.latents import LatentReader
from nadir.data.tables import BUCKETS, LATENT_INDEX, MANIFEST, read_table, write_table
from nadir.ground.files import read_json
from nadir.model.autoencoder import encode_images
from nadir.model.hashing import encoder_hash
from nadir.model.sdxl import load_vae
from nadir.model.tiny import make_tiny
from nadir.stages.encode import main

if TYPE_CHECKING:
    from collections.abc import Callable

# Columns of the index that say how rows are spread over shards.
PLACE = ["shard", "row", "flip_shard", "flip_row"]
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


def read_index(project: Path) -> pa.Table:
    return read_table(project / "data/latents/index.parquet", LATENT_INDEX)


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal to the last bit."""
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0)


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


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_images_inside_other_files_are_read_through_the_source(
    project: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    main()
    expected = latents(project)
    shutil.rmtree(project / "work")
    shutil.rmtree(project / "data/latents")
    folder = project / "data/sample"
    paths = sorted(folder.iterdir())
    manifest = read_table(project / "data/manifest.parquet", MANIFEST)
    if kind == "tar":
        with tarfile.open(folder / "all.tar", "w") as archive:
            for path in paths:
                archive.add(path, path.name)
        places = {path.name: f"all.tar::{path.name}" for path in paths}
    else:
        rows = [{"image": path.read_bytes()} for path in paths]
        pq.write_table(pa.Table.from_pylist(rows), folder / "all.parquet", row_group_size=2)
        places = {path.name: f"all.parquet::{n:06d}" for n, path in enumerate(paths, 1)}
    for path in paths:
        path.unlink()
    names = [places[path] for path in manifest.column("path").to_pylist()]
    column = manifest.column_names.index("path")
    moved = manifest.set_column(column, MANIFEST.field("path"), pa.array(names))
    write_table(moved, project / "data/manifest.parquet", MANIFEST)
    capsys.readouterr()
    main()
    assert "encode: 5 images, 5 encoded, 0 reused" in capsys.readouterr().out
    assert_equal(latents(project), expected)


def test_images_in_a_bucket_are_read_through_the_source(
    project: Path, s3: Any, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    expected = latents(project)
    shutil.rmtree(project / "work")
    shutil.rmtree(project / "data/latents")
    for path in (project / "data/sample").iterdir():
        s3.upload_file(str(path), bucket, path.name)
        path.unlink()
    edit(project, "source: data/sample", f"source: s3://{bucket}")
    main()
    assert_equal(latents(project), expected)
    s3.put_object(Bucket=bucket, Key="3.png", Body=b"other")
    shutil.rmtree(project / "work")
    shutil.rmtree(project / "data/latents")
    with pytest.raises(SystemExit):
        main()
    error = capsys.readouterr().err
    assert f"s3://{bucket}/3.png: the image has changed since it was validated" in error


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


def start_over(project: Path) -> None:
    shutil.rmtree(project / "work")
    shutil.rmtree(project / "data/latents")


def test_edited_pixels_are_encoded_again_and_no_others(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    before = latents(project)
    path = project / "data/sample/3.png"
    with Image.open(path) as image:
        pixels = np.asarray(image).copy()
    pixels[-1, -1] += 1
    Image.fromarray(pixels).save(path)
    describe(project)
    main()
    assert "encode: 5 images, 1 encoded, 4 reused" in capsys.readouterr().out
    after = latents(project)
    assert len(before.keys() & after.keys()) == 4
    new = hashlib.sha256(path.read_bytes()).hexdigest()
    assert new in after.keys() - before.keys()


def test_one_per_cent_more_images_encodes_one_per_cent(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5, 100):
        paint(project, number, (64, 64) if number % 2 else (72, 64))
        # Colours repeat; a pixel of their own makes them images of their own.
        path = project / f"data/sample/{number}.png"
        pixels = np.asarray(Image.open(path)).copy()
        pixels[5, 5] = (number, 0, 0)
        Image.fromarray(pixels).save(path)
    describe(project)
    edit(project, "batch_size: 2\n  shard_bytes", "batch_size: 32\n  shard_bytes")
    main()
    before = latents(project)
    paint(project, 200, (64, 64))
    describe(project)
    capsys.readouterr()
    main()
    assert "encode: 101 images, 1 encoded, 100 reused" in capsys.readouterr().out
    after = latents(project)
    assert_equal({sha: after[sha] for sha in before}, before)


def test_several_processes_give_the_same_index_and_latents(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main()
    expected, index = latents(project), read_index(project)
    start_over(project)
    edit(project, "processes: 1", "processes: 2")
    capfd.readouterr()
    main()
    assert "images of process 1 of 2" in capfd.readouterr().out
    assert_equal(latents(project), expected)
    assert read_index(project).drop_columns(PLACE) == index.drop_columns(PLACE)
    assert not list((project / "work/encoding").iterdir())


def test_a_fault_under_an_accelerate_configuration_is_told_by_its_reason(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "data/sample/3.png").write_bytes(b"other")
    config = project / "accelerate.yaml"
    config.write_text(
        "{compute_environment: LOCAL_MACHINE, distributed_type: 'NO', mixed_precision: 'no', "
        "num_machines: 1, machine_rank: 0, num_processes: 1, use_cpu: true}"
    )
    edit(project, "accelerate_config: null", f"accelerate_config: {config}")
    with pytest.raises(SystemExit):
        main()
    assert "3.png: the image has changed since it was validated" in capfd.readouterr().err


def test_flip_adds_the_latent_of_the_mirrored_image_under_its_own_key(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    describe(project, crop_left=8)
    main()
    plain = latents(project)
    assert read_index(project)["flip_key"].null_count == 5
    edit(project, "flip: false", "flip: true")
    capsys.readouterr()
    main()
    assert "encode: 10 latents, 5 encoded, 5 reused" in capsys.readouterr().out
    assert_equal(latents(project), plain)
    reader = LatentReader(project / "data/latents")
    index = reader.index
    assert len({*index["key"], *index["flip_key"]}) == 10
    # The crop takes away 8 pixels on the left: in the mirrored image, none.
    assert index["flip_crop_left"].tolist() == [0] * 5
    wide = int(np.flatnonzero(index["bucket"] == "40x32")[0])
    image = Image.open(project / "data/sample/1.png").resize((48, 32), Image.Resampling.LANCZOS)
    mirrored = image.crop((8, 0, 48, 32)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    vae = load_vae(project / "models" / "base")
    torch.testing.assert_close(
        reader.rows([wide], np.array([True]))[0],
        encode_images(vae, [mirrored])[0],
        rtol=1e-3,
        atol=1e-4,
    )
    assert reader.has_flip(np.arange(5)).all()


def test_only_large_canvases_are_tiled_and_only_they_depend_on_the_tiles(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    whole = latents(project)
    edit(
        project,
        "above_px: 0, tile_px: 512, overlap_px: 64",
        "above_px: 1024, tile_px: 32, overlap_px: 0",
    )
    capsys.readouterr()
    main()
    assert "encode: 5 images, 2 encoded, 3 reused" in capsys.readouterr().out
    tiled = latents(project)
    large = {sha for sha in whole if whole[sha].shape != (4, 8, 8)}
    assert len(large) == 2
    for sha, latent in tiled.items():
        assert latent.shape == whole[sha].shape
        assert torch.equal(latent, whole[sha]) == (sha not in large)
    start_over(project)
    main()
    assert_equal(latents(project), tiled)


def test_a_vae_that_overflows_stops_the_stage_with_the_way_out(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae = load_vae(project / "models" / "base")
    vae.quant_conv.weight.mul_(1e30)
    vae.save_pretrained(project / "models/base/vae")
    edit(project, "store: fp32", "store: fp16")
    with pytest.raises(SystemExit):
        main()
    error = capsys.readouterr().err
    assert "png: the VAE gives latents that are not finite in fp32" in error
    assert "set encode.precision: fp32 or bf16" in error


def test_what_killed_runs_left_half_written_is_swept_and_damage_is_not_adopted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    expected = latents(project)
    shutil.rmtree(project / "work")
    left = project / "work/latents/.32x32-feed.safetensors.abc.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    shard = next((project / "data/latents").glob("48x32-*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-3] ^= 1
    shard.write_bytes(data)
    main()
    out = capsys.readouterr().out
    assert f"ignoring damaged shard {shard.name}" in out
    assert "encode: 5 images, 1 encoded, 4 reused" in out
    assert not left.exists()
    assert_equal(latents(project), expected)


def test_every_precision_of_the_vae_gives_nearly_the_same_latents(project: Path) -> None:
    main()
    exact = latents(project)
    scale = torch.cat([latent.flatten() for latent in exact.values()]).std()
    for precision, limit in (("fp16", 0.01), ("bf16", 0.05)):
        text = (project / "params.yaml").read_text()
        (project / "params.yaml").write_text(
            re.sub(r"(encode:\n  precision: )\w+", rf"\g<1>{precision}", text)
        )
        main()
        found = latents(project)
        worst = max(float((found[sha] - exact[sha]).abs().max()) for sha in exact)
        assert 0 < worst < limit * scale, precision
