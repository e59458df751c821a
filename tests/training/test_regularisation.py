"""Regularisation images by tag and by folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.training.test_loader import samples_of

from nadir.config.objective import RegularisationParams
from nadir.data.latents.store import LatentReader
from nadir.data.tables import MANIFEST, read_table, write_table
from nadir.ground.errors import NadirError
from nadir.training.samples import Samples, load_samples


def weighted(project: Path, tags: dict[str, float], folders: dict[str, float]) -> Samples:
    return load_samples(
        LatentReader(project / "data/latents").index,
        manifest=project / "data/manifest.parquet",
        tags=project / "data/tags.parquet",
        tag_weighting=True,
        regularisation=RegularisationParams(tags=tags, folders=folders),
    )


def in_folders(project: Path) -> list[str]:
    """Put every third image into a folder; the folder of each row of the samples."""
    path = project / "data/manifest.parquet"
    table = read_table(path, MANIFEST)
    paths = [f"{('set', 'reg/a', 'x/reg')[n % 3]}/{n}.png" for n in range(table.num_rows)]
    place = table.schema.get_field_index("path")
    table = table.set_column(place, table.schema.field(place), pa.array(paths))
    write_table(table, path, MANIFEST)
    folder_of = dict(zip(table["sha256"].to_pylist(), paths, strict=True))
    index = LatentReader(project / "data/latents").index
    rows = index.iloc[samples_of(project).positions_N]
    return [folder_of[sha].rpartition("/")[0] for sha in rows["sha256"]]


def test_images_of_a_tag_weigh_what_it_says_times_their_tag_weight(project: Path) -> None:
    plain, found = samples_of(project), weighted(project, {"smile": 0.25}, {})
    smiles = [("smile", "general") in plain.prompt_tags(row) for row in range(len(plain))]
    assert any(smiles)
    assert not all(smiles)
    expected = np.where(smiles, 0.25, 1.0) * plain.weights_N
    np.testing.assert_allclose(found.weights_N, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [("reg", {"reg/a"}), ("reg/", {"reg/a"}), ("*/reg", {"x/reg"}), ("*re*", {"reg/a", "x/reg"})],
)
def test_images_below_a_folder_weigh_what_it_says(
    project: Path, pattern: str, matched: set[str]
) -> None:
    folders = in_folders(project)
    plain, found = samples_of(project), weighted(project, {}, {pattern: 0.5})
    expected = np.where([folder in matched for folder in folders], 0.5, 1.0) * plain.weights_N
    np.testing.assert_allclose(found.weights_N, expected, rtol=1e-6)


def test_of_several_weights_the_lowest_counts(project: Path) -> None:
    in_folders(project)
    plain = samples_of(project)
    found = weighted(project, {"smile": 0.5, "1girl": 0.25}, {"*": 0.75})
    names = [{name for name, _ in plain.prompt_tags(row)} for row in range(len(plain))]
    expected = [0.25 if "1girl" in tags else 0.5 if "smile" in tags else 0.75 for tags in names]
    np.testing.assert_allclose(found.weights_N / plain.weights_N, expected, rtol=1e-6)


def test_a_tag_or_folder_of_no_image_is_refused(project: Path) -> None:
    with pytest.raises(NadirError, match="no training image has the tag `cat`"):
        weighted(project, {"cat": 0.5}, {})
    with pytest.raises(NadirError, match="no training image has the folder `reg`"):
        weighted(project, {}, {"reg": 0.5})
