"""Only what is missing is encoded, and nothing that is there is lost."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from tests.support.encode_project import assert_equal, describe, edit, latents, paint, shards
from tests.support.training_project import TINY

from nadir.model.tiny.networks import make_tiny
from nadir.stages.encode import main

if TYPE_CHECKING:
    from collections.abc import Callable


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
