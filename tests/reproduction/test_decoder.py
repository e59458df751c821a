"""Claim 19 in miniature: what is measured, and that it is the same each time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from tests.support.encode_project import SIZES, describe, paint

from nadir.config.edit import set_values
from nadir.data.tables import MANIFEST, read_table, write_table
from nadir.ground.errors import NadirError
from nadir.reproduction import effects, figures
from nadir.reproduction.arms import DECODER
from nadir.reproduction.decoder import traces_of_jpeg
from nadir.reproduction.results import Results


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures of 32 pixels and more, the first held out."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    params = Path(__file__).parents[2] / "params.yaml"
    (folder / "params.yaml").write_text(params.read_text(encoding="utf-8"), encoding="utf-8")
    set_values(["decoder.batch_size=2", "base_model.tiny.vae_batch_size=2"], folder / "params.yaml")
    for number, size in enumerate(SIZES):
        paint(folder, number, size)
    describe(folder)
    split(folder, "holdout")
    return folder


def split(project: Path, first: str) -> None:
    manifest = read_table(project / "data/manifest.parquet", MANIFEST)
    splits = pa.array([first, *["train"] * (len(manifest) - 1)])
    column = manifest.column_names.index("split")
    changed = manifest.set_column(column, "split", splits)
    write_table(changed, project / "data/manifest.parquet", MANIFEST)


def test_before_and_after_are_measured_and_again_the_same(project: Path, tmp_path: Path) -> None:
    found = traces_of_jpeg(project, seed=0, steps=1)
    assert traces_of_jpeg(project, seed=0, steps=1) == found
    numbers = found["numbers"]
    assert numbers["encoder_changed"] == 0
    # After as many steps, from clean pictures and from more JPEG, from the same weights.
    assert len({numbers[f"psnr_{when}"] for when in ("before", "after", "jpeg")}) == 3
    results = Results({(DECODER, 0): {DECODER: found}}, (0,))
    for name in ("before", "after", "jpeg"):
        own, drawn = numbers["blockiness_pictures"], numbers[f"blockiness_{name}"]
        assert numbers[f"grid_{name}"] == abs(drawn - own)
    assert effects.decoder_grid(results) == [numbers["grid_before"] - numbers["grid_after"]]
    assert effects.decoder_control(results) == [numbers["grid_jpeg"] - numbers["grid_after"]]
    assert figures.draw("decoder", results, tmp_path / "decoder.png", [])


def test_data_without_held_out_pictures_is_one_error(project: Path) -> None:
    split(project, "train")
    with pytest.raises(NadirError, match="no held-out picture"):
        traces_of_jpeg(project, seed=0, steps=1)
