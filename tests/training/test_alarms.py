"""Each alarm is raised by a training that really fails that way, and by none that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.training.test_trainer import QUIET, Recorder, assert_equal_weights, train

from nadir.config.edit import set_values
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.data.latents.store import LatentReader
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json, write_json
from nadir.heldout.images import load_heldout
from nadir.training import train_step
from nadir.training.loader import BatchLoader
from nadir.training.losses import objective
from nadir.training.validation.alarms import extreme_pixels, is_spike
from nadir.training.validation.pictures import extreme_share
from nadir.training.validation.rarity import TAIL, rarity_groups
from nadir.training.validation.validator import _document_frequency
from nadir.training.validation.watch import Watch

SHIFTED_MEAN = -3.5  # so that normalised latents have the mean 1.5, which is soon learnt
LEARNS: dict[str, Any] = {
    "steps": 40,
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "ema_decay": 0.5,
    "preview_every": 0,
    "checkpoint_every": 100,
    "validation": {"every": 10, "images": 6, "levels": 1},
}


@pytest.fixture
def shifted(project: Path) -> Path:
    path = project / "data/latent_statistics.json"
    write_json(path, read_json(path) | {"mean": [SHIFTED_MEAN] * 4})
    return project


def change_latents(project: Path, hashes: list[str], change: Any) -> None:
    """Rewrite the stored latents of some images in place."""
    index = LatentReader(project / "data/latents").index
    for shard, rows in index[index["sha256"].isin(hashes)].groupby("shard"):
        (path,) = (project / "data/latents").glob(f"{shard}*")
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        (name,) = (name for name, tensor in tensors.items() if tensor.ndim == 4)
        for row in rows["row"]:
            tensors[name][row] = change(tensors[name][row])
        save_file(tensors, path)


def errors(recorder: Recorder, name: str) -> list[float]:
    return [metrics[f"val/x0/{name}"] for *_, metrics in recorder.looks]


def test_a_training_that_learns_raises_no_alarm(
    shifted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = train(tmp_path / "w", **LEARNS, stop_on=["high_sigma", "spikes", "rare_tags"])
    assert "WARNING" not in capsys.readouterr().out
    assert errors(recorder, "high_sigma")[-1] < 0.5 * errors(recorder, "high_sigma")[0]


def test_a_misread_target_leaves_the_error_at_high_sigma_where_it_was(
    shifted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(objective, "target", lambda _prediction, _x0, noise, _alphas: noise)
    recorder = train(tmp_path / "w", **LEARNS)
    said = capsys.readouterr().out
    assert said.count("WARNING train: high_sigma: the held-out error at high sigma is ") == 1
    assert "always guessing the mean gets " in said
    assert errors(recorder, "high_sigma")[-1] > 0.9 * errors(recorder, "high_sigma")[0]


def test_rare_tags_that_look_unlike_what_is_trained_fall_behind(
    shifted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shifted / "data"
    images = load_heldout(
        manifest=data / "manifest.parquet",
        tags=data / "tags.parquet",
        latents=data / "latents",
        captions=read_section("train", TrainParams).caption,
        limit=6,
    )
    tail = rarity_groups(images, _document_frequency(data / "tags.parquet"))[TAIL]
    change_latents(shifted, tail, lambda latent: 2 * SHIFTED_MEAN - latent)
    with pytest.raises(NadirError, match="stopped by the alarm rare_tags: rare tags fall behind"):
        train(tmp_path / "w", **LEARNS, stop_on=["rare_tags"])
    assert "WARNING train: rare_tags: " in capsys.readouterr().out


def test_a_rate_far_too_high_spikes_stops_and_goes_on_when_allowed(
    shifted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = train_step.learning_rate
    # One step throws the weights far off: losses are some 400 times what they were. A rate that is
    # too high all along does so sooner or later, and when differs from processor to processor.
    monkeypatch.setattr(
        train_step, "learning_rate", lambda step, **how: 10.0 if step == 20 else usual(step, **how)
    )
    wild = LEARNS | {
        "max_gradient_norm": 1000.0,
        "validation": {"every": 0, "images": 1, "levels": 1},
    }
    whole = train(tmp_path / "whole", **wild)
    said = capsys.readouterr().out
    assert said.count("WARNING train: spikes: 3 spikes of loss or gradient norm") == 1
    set_values(["train.stop_on=[spikes]"], shifted / "params.yaml")
    with pytest.raises(NadirError, match="stopped by the alarm spikes: 3 spikes") as caught:
        train(tmp_path / "parts", **wild)
    assert "take spikes out of train.stop_on and run again" in caught.value.fix
    (saved,) = (tmp_path / "parts/checkpoints").iterdir()
    with pytest.raises(NadirError, match="stopped by the alarm spikes: 3 spikes"):
        train(tmp_path / "parts", **wild)
    assert [one.name for one in (tmp_path / "parts/checkpoints").iterdir()] == [saved.name]
    set_values(["train.stop_on=[]"], shifted / "params.yaml")
    resumed = train(tmp_path / "parts", **wild)
    assert 0 < len(resumed.steps) < len(whole.steps)
    assert_equal_weights(tmp_path / "whole", tmp_path / "parts")


def test_a_wide_spread_is_no_spike() -> None:
    spread = [0.02, 1.1, 0.3, 0.05, 0.9, 0.4, 0.1, 0.7, 0.2, 0.5]
    assert not is_spike(1.2, spread)
    assert is_spike(12.0, spread)
    assert not is_spike(12.0, spread[:9])


def test_previews_that_burn_out_raise_the_alarm_and_black_ones_that_should_be_do_not(
    project: Path,
) -> None:
    params = read_section("train", TrainParams).model_copy(
        update={"stop_on": ("extreme_pixels",), "preview_every": 1}
    )
    said: list[str] = []
    watch = Watch(params, mean_error=1.0, warn=said.append)
    for step, burnt in enumerate((0, 2, 30, 60)):
        watch.previewed(step, [half_black(burnt)], 0.7)
    assert said == []
    for step, burnt in enumerate((0, 2, 30, 60), 4):
        watch.previewed(step, [half_black(burnt)], 0.05)
    assert len(said) == 1
    assert "30% of the previews' pixels are exactly black or white; it was 0%" in said[0]
    fault = watch.fault()
    assert fault is not None
    assert "stopped by the alarm extreme_pixels" in fault.what
    assert extreme_pixels([0.6, 0.6], 0.05) is None, "it was so before"


def half_black(percent: int) -> Image.Image:
    """That share of pixels black or white in turn; the others have one channel at an end."""
    pixels = np.full((100, 10, 3), (0, 255, 128), np.uint8)
    pixels[: percent // 2], pixels[percent // 2 : percent] = 0, 255
    image = Image.fromarray(pixels)
    assert extreme_share(image) == percent / 100
    return image


def test_a_broken_latent_is_named_with_its_image_and_sigma(project: Path, tmp_path: Path) -> None:
    index = LatentReader(project / "data/latents").index
    broken = list(index["sha256"])[20:]
    change_latents(project, broken, lambda latent: latent * torch.inf)
    with pytest.raises(NadirError, match="the loss is nan at step 1, whose batch is: ") as caught:
        train(tmp_path / "w")
    first, *others = caught.value.what.partition("batch is: ")[2].split("; ")
    assert len(others) == 3
    assert first[:12] in {sha256[:12] for sha256 in broken}
    assert ".png), sigma " in first
    assert first.endswith("its latent is not finite")
    assert "nadir latents verify" in caught.value.fix


def test_a_loss_that_is_no_number_without_broken_latents_is_the_rates(
    project: Path, tmp_path: Path
) -> None:
    with pytest.raises(NadirError, match=r"the loss is (nan|inf) at step ") as caught:
        train(tmp_path / "w", learning_rate=1e30, warmup_steps=0, optimizer="adamw")
    assert "not finite" not in caught.value.what
    assert "sigma " in caught.value.what
    assert "lower train.learning_rate" in caught.value.fix


def test_a_loss_read_late_is_still_its_own_steps_and_nothing_bad_is_saved(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = BatchLoader.batch

    def fifth_is_broken(loader: BatchLoader, step: int, **of: int) -> objective.Batch:
        batch = draw(loader, step, **of)
        return replace(batch, noise_BCHW=batch.noise_BCHW * torch.nan) if step == 4 else batch

    monkeypatch.setattr(BatchLoader, "batch", fifth_is_broken)
    with pytest.raises(NadirError, match="the loss is nan at step 5, whose batch is: ") as caught:
        # Losses are read every ten steps, or when a checkpoint is due.
        train(tmp_path / "w", steps=200, checkpoint_every=4, **QUIET)
    assert caught.value.what.count(", sigma ") == 4
    assert [path.name for path in (tmp_path / "w/checkpoints").iterdir()] == ["step-000004"]
