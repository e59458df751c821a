"""Stage bucket: its files, and the error when nothing fits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.manifests import manifest_table

from nadir.data.tables import BUCKETS, MANIFEST, QUARANTINE, read_table, write_table
from nadir.stages.bucket import main

if TYPE_CHECKING:
    from pathlib import Path


def write_manifest(folder: Path, sizes: list[tuple[int, int]]) -> None:
    table = manifest_table({"width": width, "height": height} for width, height in sizes)
    write_table(table, folder / "data/manifest.parquet", MANIFEST)


@pytest.fixture
def project(tmp_path: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params_text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_table_metrics_and_plot(project: Path) -> None:
    write_manifest(project, [(640, 640)] * 50 + [(480, 320)] * 40 + [(60, 60), (900, 100)])
    main()
    table = read_table(project / "data/buckets.parquet", BUCKETS)
    assert table["sha256"].to_pylist() == [f"{number:064x}" for number in range(91)]
    assert json.loads((project / "reports/buckets.json").read_text(encoding="utf-8")) == {
        "buckets": 2,
        "images": 91,
        "excluded": {"aspect": 1, "upscale": 0},
        "mean_retained_area": pytest.approx((51 + 40 * 0.9) / 91),
        "retained_area_percentiles": {
            "p01": pytest.approx(0.9),
            "p05": pytest.approx(0.9),
            "p25": pytest.approx(0.9),
            "p50": 1.0,
        },
        "upscaled": 1,
    }
    assert (project / "reports/buckets.csv").read_text(encoding="utf-8") == (
        "bucket,images,train,upscaled,retained_area\n"
        "64x64,51,51,1,1.000000\n80x48,40,40,0,0.900000\n"
    )
    left_out = read_table(project / "data/bucket_quarantine.parquet", QUARANTINE).to_pylist()
    assert [(row["path"], row["reason"]) for row in left_out] == [("91.png", "extreme_aspect")]
    assert left_out[0]["detail"] == "of 900x100 pixels, too far from every bucket's aspect ratio"
    assert "bucket.max_log_aspect_error" in left_out[0]["fix"]


def test_images_that_would_be_upscaled_are_named_when_they_are_left_out(project: Path) -> None:
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8").replace("upscale: allow", "upscale: exclude")
    path.write_text(text, encoding="utf-8")
    write_manifest(project, [(640, 640)] * 40 + [(60, 60)])
    main()
    left_out = read_table(project / "data/bucket_quarantine.parquet", QUARANTINE).to_pylist()
    assert [(row["path"], row["reason"]) for row in left_out] == [("40.png", "too_small")]


def test_running_again_gives_the_same_bytes(project: Path) -> None:
    write_manifest(project, [(100 + number, 200 - number) for number in range(100)])
    files = (
        "data/buckets.parquet",
        "data/bucket_quarantine.parquet",
        "reports/buckets.json",
        "reports/buckets.csv",
    )
    main()
    first = [(project / name).read_bytes() for name in files]
    main()
    assert [(project / name).read_bytes() for name in files] == first


def test_a_dataset_of_which_no_image_fits_ends_with_the_reason_and_the_fix(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(project, [(1000, 100)] * 3)
    with pytest.raises(SystemExit, match="1"):
        main()
    error = capsys.readouterr().err
    assert "no image fits a bucket (3 of too extreme aspect ratio, 0 smaller" in error
    assert "fix: raise max_log_aspect_error" in error
    assert not (project / "data/buckets.parquet").exists()
