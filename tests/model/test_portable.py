"""Folders in the form that every version of the libraries reads, wherever they come from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.model.conftest import write_checkpoint
from transformers import CLIPTokenizer

from nadir.config.base_model import BaseModelParams, TinyParams
from nadir.ground.files import file_hash, read_json
from nadir.model.checkpoint.portable import make_portable
from nadir.model.fetch import fetch_base
from nadir.model.sdxl.networks import load_text
from nadir.model.single_file.writing import export_single_file

TEXT_ENCODERS, TOKENIZERS = ("text_encoder", "text_encoder_2"), ("tokenizer", "tokenizer_2")
SHARD = "200KB"


def as_transformers_5_writes(source: Path, folder: Path, **options: Any) -> Path:
    """A copy of a model whose text parts transformers 5 saved as it does those made in memory."""
    shutil.copytree(source, folder)
    text = load_text(source)
    for part in (*TEXT_ENCODERS, *TOKENIZERS):
        shutil.rmtree(folder / part)
    for part in TEXT_ENCODERS:
        loaded = getattr(text, part)
        # One that was read from a file is saved by the names that the file had.
        made = type(loaded)(loaded.config)
        made.load_state_dict(loaded.state_dict())
        made.save_pretrained(folder / part, **options)
    for part in TOKENIZERS:
        getattr(text, part).save_pretrained(folder / part)
    return folder


def assert_portable(folder: Path) -> None:
    for part in TEXT_ENCODERS:
        files = sorted((folder / part).glob("*.safetensors"))
        names = [name for file in files for name in load_file(file)]
        assert "text_model.embeddings.token_embedding.weight" in names
        assert {name.split(".")[0] for name in names} <= {"text_model", "text_projection"}
        for index in (folder / part).glob("*.index.json"):
            assert sorted(read_json(index)["weight_map"]) == sorted(names)
        config = read_json(folder / part / "config.json")
        assert config["torch_dtype"] == "float32"
        assert "dtype" not in config
    for part in TOKENIZERS:
        whole = read_json(folder / part / "tokenizer.json")["model"]
        assert read_json(folder / part / "vocab.json") == whole["vocab"]
        lines = (folder / part / "merges.txt").read_text(encoding="utf-8").splitlines()
        assert lines == ["#version: 0.2", *(" ".join(pair) for pair in whole["merges"])]


@pytest.fixture
def fetch(tmp_path: Path, small_tiny: TinyParams) -> Any:
    def run(source: Path) -> Path:
        values = {"source": str(source), "revision": None, "variant": None, "tiny": small_tiny}
        fetch_base(BaseModelParams.model_construct(**values), tmp_path / "base")
        return tmp_path / "base"

    return run


def test_transformers_5_still_writes_the_form_that_others_misread(
    base: Path, tmp_path: Path
) -> None:
    """Once it does not, `make_portable` has less to do."""
    folder = as_transformers_5_writes(base, tmp_path / "model")
    names = load_file(folder / "text_encoder/model.safetensors")
    assert "embeddings.token_embedding.weight" in names
    assert not (folder / "tokenizer/vocab.json").exists()


def test_the_model_made_from_scratch_is_portable(base: Path) -> None:
    assert_portable(base)


def test_a_base_from_a_single_file_is_portable(fetch: Any, base: Path, tmp_path: Path) -> None:
    export_single_file(base, tmp_path / "model.safetensors", precision="fp32")
    assert_portable(fetch(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("options", [{}, {"max_shard_size": SHARD}])
def test_a_base_from_a_folder_of_transformers_5_is_portable(
    fetch: Any, base: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    source = as_transformers_5_writes(base, tmp_path / "source", **options)
    before = {path: file_hash(path) for path in source.rglob("*.*")}
    folder = fetch(source)
    assert_portable(folder)
    assert len(list((folder / "text_encoder").glob("*.safetensors"))) == (2 if options else 1)
    assert {path: file_hash(path) for path in source.rglob("*.*")} == before
    prompts = ["1girl, red_hair"]
    for ours, theirs in zip(
        load_text(folder).encode(prompts), load_text(source).encode(prompts), strict=True
    ):
        assert ours.equal(theirs)


def test_a_checkpoint_is_portable_even_of_a_base_that_is_not(base: Path, tmp_path: Path) -> None:
    """As one that an earlier version of Nadir left."""
    old = as_transformers_5_writes(base, tmp_path / "old")
    before = {path: file_hash(path) for path in old.rglob("*.*")}
    assert_portable(write_checkpoint(tmp_path / "checkpoint", old))
    assert {path: file_hash(path) for path in old.rglob("*.*")} == before


def test_what_is_portable_stays_untouched(checkpoint: Path) -> None:
    assert_portable(checkpoint)
    before = {path: path.stat().st_ino for path in checkpoint.rglob("*")}
    make_portable(checkpoint)
    assert {path: path.stat().st_ino for path in checkpoint.rglob("*")} == before


def test_whole_words_need_the_fast_tokenizer_of_transformers_4(checkpoint: Path) -> None:
    index = read_json(checkpoint / "model_index.json")
    assert [index[part][1] for part in TOKENIZERS] == ["CLIPTokenizerFast"] * 2


def test_vocabulary_and_merges_alone_make_the_same_clip_tokenizer(tmp_path: Path) -> None:
    """As transformers 4 reads it; the merges are a few of CLIP's."""
    merges = [("h", "a"), ("i", "r</w>"), ("ha", "ir</w>")]
    pieces = ["h", "a", "i", "r</w>", "ha", "ir</w>", "hair</w>", "<|startoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges)
    for part in TOKENIZERS:
        tokenizer.save_pretrained(tmp_path / part)
    for part in TEXT_ENCODERS:
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model_index.json").write_text("{}", encoding="utf-8")
    make_portable(tmp_path)
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    again = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert again("hair").input_ids == tokenizer("hair").input_ids == [7, 6, 8]
