"""What a dataset is like in numbers, how far two are apart, and who may accept one."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from nadir.cli import app
from nadir.data.gate.accepted_profile import REFERENCE, accept, read_reference
from nadir.data.gate.profile import changed_tags, distance, drift
from nadir.data.gate.profile import profile as profile_of
from nadir.data.tables import MANIFEST
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import write_json

if TYPE_CHECKING:
    from pathlib import Path


def manifest(
    count: int, *, seed: int = 0, width: int = 800, light: float = 0.5, odd_tag: str = ""
) -> pa.Table:
    """Images with some random tags; `odd_tag` stands at every second."""
    rng = np.random.default_rng(seed)
    names = [f"tag_{i}" for i in range(12)]
    rows = []
    for index in range(count):
        tags = [*rng.choice(names, 4, replace=False, p=np.arange(1, 13) / 78).tolist()]
        tags += [odd_tag] if odd_tag and index % 2 else []
        rows.append(
            {
                "sha256": f"{index:064x}",
                "path": f"{index}.png",
                "width": width,
                "height": int(rng.choice([600, 800, 1000])),
                "format": "png",
                "split": "train",
                "tags": [{"name": tag, "class": "general"} for tag in tags],
                "mean_luminance": float(np.clip(rng.normal(light, 0.1), 0, 1)),
                "perceptual_hash": "0" * 16,
                "record_id": str(index),
                "rating": None,
            }
        )
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def profile(table: pa.Table) -> dict[str, Any]:
    uses = Counter(tag["name"] for tags in table.column("tags").to_pylist() for tag in tags)
    ordered = sorted(uses.items(), key=lambda pair: (-pair[1], pair[0]))
    tags, counts = [tag for tag, _ in ordered], [count for _, count in ordered]
    return profile_of(table, pa.table({"tag": pa.array(tags, pa.string()), "count": counts}))


def test_a_profile_is_shares_that_sum_to_one_and_depends_on_nothing_else() -> None:
    table = manifest(300)
    found = profile(table)
    assert found["images"] == 300
    for kind in ("tags", "sizes", "luminance"):
        assert sum(found[kind].values()) == pytest.approx(1, abs=1e-4)
    assert profile(table.take(pa.array(np.random.default_rng(1).permutation(300)))) == found
    assert json.loads(json.dumps(found)) == found
    assert profile(manifest(0))["images"] == 0


def test_two_draws_of_one_dataset_hardly_drift_and_a_changed_one_does() -> None:
    reference = profile(manifest(1500))
    same = drift(profile(manifest(1500, seed=1)), reference)
    assert all(value is not None and value < 0.06 for value in same.values())
    changed: dict[str, dict[str, Any]] = {
        "tag_drift": {"odd_tag": "watermark"},
        "size_drift": {"width": 2000},
        "luminance_drift": {"light": 0.2},
    }
    for name, change in changed.items():
        found = drift(profile(manifest(1500, seed=1, **change)), reference)
        for other, value in found.items():
            assert value is not None
            assert (value > 0.09) == (other == name)


def test_nothing_is_said_without_a_reference_or_about_few_images() -> None:
    nothing = {"tag_drift": None, "size_drift": None, "luminance_drift": None}
    assert drift(profile(manifest(200)), None) == nothing
    assert drift(profile(manifest(99)), profile(manifest(200))) == nothing


def test_the_distance_is_the_share_that_would_have_to_change() -> None:
    assert distance({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}) == 0
    assert distance({"a": 1.0}, {"b": 1.0}) == pytest.approx(1)
    assert distance({"a": 0.7, "b": 0.3}, {"a": 0.5, "b": 0.5}) == pytest.approx(0.2)
    # Half of the uses are of rare tags that no list names.
    assert distance({"a": 0.5}, {"a": 1.0}) == pytest.approx(0.5)


def test_the_tags_that_changed_most_come_first() -> None:
    before = profile(manifest(300))
    now = profile(manifest(300, odd_tag="watermark"))
    name, share_before, share_now = changed_tags(now, before)[0]
    assert (name, share_before) == ("watermark", 0.0)
    assert share_now == pytest.approx(150 / 1350)


def test_accepting_writes_the_reference_once(tmp_path: Path) -> None:
    found = profile(manifest(150))
    write_json(tmp_path / artifacts.PROFILE, found)
    assert accept(tmp_path / artifacts.PROFILE, tmp_path)
    assert read_reference(tmp_path) == found
    assert not accept(tmp_path / artifacts.PROFILE, tmp_path)
    assert len((tmp_path / REFERENCE).read_text().splitlines()) > 20


def test_the_empty_reference_in_the_repository_means_none_yet(root: Path, tmp_path: Path) -> None:
    assert read_reference(tmp_path) is None
    (tmp_path / "reference").mkdir()
    (tmp_path / REFERENCE).write_text("{}\n")
    assert read_reference(tmp_path) is None
    read_reference(root)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3}', '{"images": 1e999, "x": 1}'])
def test_a_broken_reference_is_told_with_the_way_back(tmp_path: Path, text: str) -> None:
    (tmp_path / "reference").mkdir()
    (tmp_path / REFERENCE).write_text(text)
    with pytest.raises(NadirError, match="not the profile of a dataset") as caught:
        read_reference(tmp_path)
    assert "git checkout reference/dataset.json" in str(caught.value)


def test_the_command_accepts_the_present_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["data", "accept"])
    assert isinstance(done.exception, NadirError)
    assert "there is no dataset to accept yet" in str(done.exception)
    write_json(tmp_path / artifacts.PROFILE, profile(manifest(150)))
    done = CliRunner().invoke(app, ["data", "accept"])
    assert "reference/dataset.json: now describes the present dataset; commit it" in done.output
    done = CliRunner().invoke(app, ["data", "accept"])
    assert "describes it already" in done.output


def test_sizes_are_counted_by_half_octaves_of_side_and_shape() -> None:
    sides = [(w, h) for w in (1, 47, 700, 800, 4096, 60_000) for h in (1, 600, 805, 9000)] * 2
    images = manifest(len(sides) + 2)
    for place, name in enumerate(("width", "height")):
        values = pa.array([side[place] for side in [*sides, (640, 480), (480, 640)]], pa.int32())
        images = images.set_column(images.column_names.index(name), name, values)
    expected = Counter(
        f"2^{round(np.log2(w * h)) / 2:g} px, 2^{round(2 * np.log2(w / h)) / 2 + 0.0:g} : 1"
        for w, h in [*sides, (640, 480), (480, 640)]
    )
    found = profile(images)["sizes"]
    assert found == {name: round(n / len(images), 6) for name, n in expected.items()}
    assert found["2^9 px, 2^0.5 : 1"] == found["2^9 px, 2^-0.5 : 1"] == 0.02
