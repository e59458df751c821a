"""`nadir captions`: it prints what training makes, and marks what is cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from tests.support.training_project import make_base, write_project
from typer.testing import CliRunner

from nadir.cli import app
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.data.latents.store import LatentReader
from nadir.data.tables import MANIFEST, read_table, write_table
from nadir.ground.errors import NadirError
from nadir.training.loader import BatchLoader
from nadir.training.samples import load_samples

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training reads; some images have sentences, the first a very long one."""
    base = make_base(tmp_path_factory.mktemp("base") / "base")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    folder = write_project(tmp_path_factory.mktemp("home") / "p", base=base, params_text=text)
    path = folder / "data/manifest.parquet"
    table = read_table(path, MANIFEST)
    rows = table.to_pylist()
    train = [row for row in rows if row["split"] == "train"]
    train[0]["captions"] = [{"kind": "caption", "text": "A {red|blue} wall. " + "stone " * 60}]
    train[1]["captions"] = [{"kind": "caption", "text": "A short\n sentence."}]
    write_table(table.from_pylist(rows, schema=MANIFEST), path, MANIFEST)
    return folder


def set_caption(home: Path, kept: int | None = None, **changes: object) -> TrainParams:
    yaml, file = YAML(), home / "params.yaml"
    tree = yaml.load(file.read_text(encoding="utf-8"))
    tree["train"]["caption"].update(changes)
    tree["train"]["text_cache"] = kept
    with file.open("w", encoding="utf-8") as out:
        yaml.dump(tree, out)
    return read_section("train", TrainParams, file)


def shown(*options: str) -> list[str]:
    done = CliRunner().invoke(app, ["captions", *options])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


MIXED = {"tags": 1.0, "sentence": 1.0, "tags_sentence": 1.0, "sentence_tags": 1.0}


@pytest.mark.parametrize("kept", [None, 2])
def test_it_prints_what_training_asks_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, kept: int | None
) -> None:
    monkeypatch.chdir(home)
    params = set_caption(home, kept, forms=MIXED, token_chunks=8)
    data, index = home / "data", LatentReader(home / "data/latents").index
    samples = load_samples(
        index,
        manifest=data / "manifest.parquet",
        tags=data / "tags.parquet",
        tag_weighting=False,
        captions=params.caption,
    )
    loader = BatchLoader.__new__(BatchLoader)
    loader._samples, loader._params = samples, params
    for step in range(6):
        lines = shown("--images", "4", "--step", str(step))
        places = list(range(4))
        asked = loader.captions(step, np.array(places), places)
        assert [line[2:] for line in lines[1:-1:2]] == [
            text or "(the empty prompt)" for text in asked
        ]
    assert len({*shown("--step", "1")} ^ {*shown("--step", "2")}) > 4


def test_what_is_beyond_the_chunks_is_marked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    sentence = {**dict.fromkeys(MIXED, 0.0), "sentence": 1.0}
    set_caption(home, forms=sentence, token_chunks=1, drop_all=0.0)
    lines = shown("--images", "2")
    assert lines[1].startswith("  A ")
    assert lines[2].startswith("  >>> not read, beyond 75 tokens: stone stone")
    # Words of the tiny tokenizer are one token or several, never in part.
    assert lines[1].count("stone") + lines[2].count("stone") == 60
    assert lines[4:] == ["  A short sentence.", "2 captions of step 0; 1 longer than 75 tokens"]


def test_without_a_manifest_it_says_what_makes_one(
    tmp_path: Path, params_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text(params_text, encoding="utf-8")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NadirError, match="manifest"):
        CliRunner().invoke(app, ["captions"], catch_exceptions=False)
