"""What a latent is of, by source, setting and process; a source that moved is told."""

from __future__ import annotations

import re
import shutil
import tarfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.support.encode_project import (
    PLACE,
    assert_equal,
    describe,
    edit,
    latents,
    read_index,
    start_over,
)

from nadir.data.latents.store import LatentReader
from nadir.data.tables import MANIFEST, read_table, write_table
from nadir.ground.files import read_json
from nadir.model.sdxl.autoencoder import encode_images
from nadir.model.sdxl.hashing import encoder_hash
from nadir.model.sdxl.networks import load_vae
from nadir.model.sdxl.opening import ImageOpener
from nadir.stages.encode import main

if TYPE_CHECKING:
    from collections.abc import Callable


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


def test_images_too_large_to_be_open_together_are_opened_one_after_the_other(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(project, "workers: 0", "workers: 4")
    spans: list[tuple[float, float]] = []
    open_row = ImageOpener.__call__

    def slowly(opener: ImageOpener, row: Any) -> Image.Image:
        begun = time.monotonic()
        time.sleep(0.05)
        image = open_row(opener, row)
        spans.append((begun, time.monotonic()))
        return image

    monkeypatch.setattr(ImageOpener, "__call__", slowly)
    monkeypatch.setattr("nadir.model.sdxl.opening.PIXELS_AT_ONCE", 64 * 96)
    main()
    assert len(spans) == len(latents(project))
    assert all(before[1] <= after[0] for before, after in pairwise(sorted(spans)))


def test_latents_are_equal_to_the_bit_whatever_number_of_cores_torch_may_use(
    project: Path,
) -> None:
    """Several processes have fewer cores each, and must give what one process gives."""
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            main()
            found.append(latents(project))
            start_over(project)
    finally:
        torch.set_num_threads(before)
    assert_equal(found[1], found[0])
    assert_equal(found[2], found[0])


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


def test_several_processes_give_the_same_index_and_latents_whoever_started_them(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main()
    expected, index = latents(project), read_index(project)
    start_over(project)
    edit(project, "processes: 1", "processes: 2")
    for name in ("WORLD_SIZE", "RANK", "PET_NNODES", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(name, "3")  # as in a pod of Kubeflow
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
