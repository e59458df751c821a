from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tests.support.small_checkpoint import write_holdout

from nadir.config.caption import CaptionForms
from nadir.data.tables import MANIFEST, read_table, write_table
from nadir.data.tags import codes
from nadir.heldout import images
from nadir.heldout.images import load_heldout, unet_function
from nadir.sampling.prompt_format import PromptFormat

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def heldout(data: Path, limit: int, **changes: object):
    return load_heldout(
        manifest=data / "manifest.parquet",
        tags=data / "tags.parquet",
        latents=data / "latents",
        captions=PromptFormat.of({}).captions.model_copy(update=changes),
        limit=limit,
    )


def test_captions_have_the_names_that_training_used(tmp_path: Path) -> None:
    # The manifest says smile; the tag table knows it as another name of happy.
    write_holdout(tmp_path, images=4)
    captions = {image.caption for image in heldout(tmp_path, 4)}
    assert captions == {"1girl, red_hair, happy", "1girl, blue_hair, happy"}


def test_captions_have_the_form_that_training_drew_most(tmp_path: Path) -> None:
    write_holdout(tmp_path, images=4)
    file = tmp_path / "manifest.parquet"
    rows = read_table(file, MANIFEST).to_pylist()
    rows[2]["captions"] = [{"kind": "caption", "text": "A {red|blue} wall."}]
    write_table(pa.Table.from_pylist(rows, MANIFEST), file, MANIFEST)
    shares = {"tags": 0.1, "sentence": 0.2, "tags_sentence": 0.7, "sentence_tags": 0.0}
    found = {i.sha256: i.caption for i in heldout(tmp_path, 4, forms=CaptionForms(**shares))}
    tags = "1girl, red_hair, happy"
    assert found[rows[2]["sha256"]] == f"{tags}, A red wall."
    assert found[rows[0]["sha256"]] == tags


def test_the_choice_is_the_first_by_hash_and_keeps_their_latents(tmp_path: Path) -> None:
    write_holdout(tmp_path, images=4)
    some, all_of_them = heldout(tmp_path, 2), heldout(tmp_path, 4)
    assert [image.sha256 for image in some] == sorted(i.sha256 for i in all_of_them)[:2]
    assert all(
        (a.latents_CHW == b.latents_CHW).all() for a, b in zip(some, all_of_them, strict=False)
    )


def test_sizes_reach_a_network_in_bfloat16_as_they_are() -> None:
    seen = {}

    def network(noisy: Any, timesteps: Any, **rest: Any) -> tuple[torch.Tensor]:
        seen.update(rest["added_cond_kwargs"])
        return (noisy,)

    network.dtype = torch.bfloat16
    sizes = torch.tensor([[1023.0, 831.0, 3.0, 0.0, 1216.0, 833.0]])
    call = unet_function(network)
    call(torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, 77, 8), torch.zeros(1, 8), sizes)
    assert torch.equal(seen["time_ids"].double(), sizes.double())


def test_files_in_pieces_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_holdout(tmp_path, images=6)
    manifest, index = tmp_path / "manifest.parquet", tmp_path / "latents/index.parquet"
    whole = {limit: heldout(tmp_path, limit, keep_first=1) for limit in (1, 3, 6, 9)}
    for path in (manifest, index):
        pq.write_table(pq.read_table(path), path, row_group_size=1)
    for module in (images, codes):
        monkeypatch.setattr(module, "IMAGES_AT_ONCE", 1)
    for limit, expected in whole.items():
        found = heldout(tmp_path, limit, keep_first=1)
        assert len(found) == min(limit, 6)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.latents_CHW, other.latents_CHW)
            assert replace(one, latents_CHW=other.latents_CHW) == other
    hashes = [image.sha256 for image in whole[6]]
    assert images._groups_with(hashes[1:3], manifest) == [1, 2]
    assert images._groups_with(["0" * 64, "f" * 64], manifest) == []
