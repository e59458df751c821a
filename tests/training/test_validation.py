"""The held-out error while training goes on: what it measures, and that it changes nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.training.test_trainer import assert_equal_weights, train

from nadir.config.noise import NoiseParams
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.data.tables import MANIFEST, read_table, write_table
from nadir.diffusion.prediction import target
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.heldout.images import HeldOutImage
from nadir.heldout.losses import HeldOut, loss_values
from nadir.model.sdxl.networks import load_text, load_unet
from nadir.sampling.generate import start_noise
from nadir.training.run import latent_scaling
from nadir.training.validation.levels import BANDS, HIGH, LOW, MID, band_timesteps
from nadir.training.validation.rarity import rarity_groups
from nadir.training.validation.validator import Validator, load_validator

STOCK = NoiseSchedule.scaled_linear()
ZERO_TERMINAL = STOCK.zero_terminal()
OFF = {"every": 0, "images": 6, "levels": 1}


def validator(**changes: int) -> Validator:
    params = read_section("train", TrainParams)
    params = params.model_copy(update={"validation": params.validation.model_copy(update=changes)})
    noise = read_section("noise", NoiseParams)
    found = load_validator(
        Path("data"),
        params,
        noise=noise,
        schedule=ZERO_TERMINAL,
        scaling=latent_scaling(params.latent_scaling),
        text=load_text(Path("models/base"), dtype=torch.float32),
    )
    assert found is not None
    return found


def test_training_with_and_without_validation_gives_equal_weights(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = train(tmp_path / "with")
    assert "held-out error by sigma at step 6: low " in capsys.readouterr().out
    plain = train(tmp_path / "without", validation=OFF)
    assert "held-out error" not in capsys.readouterr().out
    assert_equal_weights(tmp_path / "with", tmp_path / "without")
    names = {f"val/x0/{name}" for name in (*BANDS, "head_tags", "mid_tags", "tail_tags")}
    assert [(step, names <= metrics.keys()) for step, _, metrics in measured.looks] == [
        (step, True) for step in (0, 6, 12)
    ]
    assert not any(names & metrics.keys() for *_, metrics in plain.looks)
    header, *rows = (tmp_path / "with/output/loss.csv").read_text(encoding="utf-8").splitlines()
    column = header.split(",").index("heldout_high_sigma")
    cells = {row.split(",")[0]: row.split(",")[column] for row in rows}
    assert [step for step, cell in cells.items() if cell] == ["6", "12"]
    last = read_json(tmp_path / "with/output/training.json")["heldout_high_sigma"]
    assert float(cells["12"]) == pytest.approx(last, rel=1e-5)
    assert last == measured.looks[-1][2]["val/x0/high_sigma"]
    assert "heldout" not in (tmp_path / "without/output/loss.csv").read_text(encoding="utf-8")


def test_a_stop_where_a_measurement_is_due_loses_none(project: Path, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    with pytest.raises(NadirError, match="stopped on request after step 6"):
        train(tmp_path / "parts", stop_at=5)
    resumed = train(tmp_path / "parts")
    assert [look[0] for look in resumed.looks] == [6, 12]
    assert resumed.looks == whole.looks[1:]
    for name in ("training.json", "loss.csv"):
        assert (tmp_path / "parts/output" / name).read_bytes() == (
            tmp_path / "whole/output" / name
        ).read_bytes()


def test_the_published_average_is_measured(project: Path, tmp_path: Path) -> None:
    average, last = train(tmp_path / "a"), train(tmp_path / "b", ema_decay=0.0)
    assert average.looks[0] == last.looks[0]
    assert average.looks[-1][2]["val/x0/high_sigma"] != last.looks[-1][2]["val/x0/high_sigma"]


def test_more_images_and_levels_measure_more(project: Path) -> None:
    unet = load_unet(Path("models/base"))
    few, all_of_them, fine = validator(), validator(images=3), validator(levels=3)
    assert (len(few.images), len(all_of_them.images)) == (6, 3)
    assert [len(fine.timesteps[band]) for band in BANDS] == [3, 3, 3]
    values = [one.measure(unet) for one in (few, all_of_them, fine)]
    assert len({value[HIGH] for value in values[:2]}) == 2
    assert values[0][MID] != values[2][MID]
    assert few.measure(unet) == values[0]
    assert unet.training == load_unet(Path("models/base")).training


def test_a_network_that_guesses_nothing_is_judged_by_the_mean(project: Path) -> None:
    """At pure noise an output of zero means x0 = 0: the error is the latents' second moment."""
    found, unet = validator(), load_unet(Path("models/base"))
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    latents = [found.scaling.normalise(i.latents_CHW[None])[0].numpy() for i in found.images]
    moment = np.mean([np.square(one).mean() for one in latents])
    others = [
        np.mean([one.mean(axis=(1, 2)) for at, one in enumerate(latents) if at != place], axis=0)
        for place in range(6)
    ]
    guessed = [
        np.square(one - mean[:, None, None]).mean()
        for one, mean in zip(latents, others, strict=True)
    ]
    assert found.measure(unet)[HIGH] == pytest.approx(moment, rel=1e-4)
    assert found.mean_error == pytest.approx(np.mean(guessed), rel=1e-4)


def test_low_and_mid_levels_are_the_same_sigmas_on_every_schedule() -> None:
    for levels in (1, 2, 4):
        stock, zero = (band_timesteps(one, levels) for one in (STOCK, ZERO_TERMINAL))
        for band in (LOW, MID):
            sigmas = STOCK.sigma(torch.tensor(stock[band], dtype=torch.float64))
            same = ZERO_TERMINAL.sigma(torch.tensor(zero[band], dtype=torch.float64))
            assert len(sigmas) == levels
            torch.testing.assert_close(sigmas, same)
        assert len(zero[HIGH]) == levels
        assert zero[HIGH][-1] == 999
        assert stock[HIGH] == [999]


@pytest.mark.parametrize(("schedule", "prediction"), [(STOCK, "epsilon"), (ZERO_TERMINAL, "v")])
def test_an_equal_miss_of_x0_has_an_equal_error_whatever_is_predicted(
    schedule: NoiseSchedule, prediction: str
) -> None:
    clean = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    held = HeldOut([*"abcd"], clean, torch.zeros(4, 1), torch.zeros(4, 1), torch.zeros(4, 6))
    noise = torch.stack([start_noise(name, 0, (4, 8, 8)) for name in held.ids])

    def misses_by_a_third(noisy: torch.Tensor, timesteps: torch.Tensor, *_: object) -> torch.Tensor:
        alpha = 1 / (1 + schedule.sigma(timesteps.double()[:1]) ** 2)
        guess = clean + 0.3
        implied = (noisy - alpha.sqrt() * guess) / (1 - alpha).sqrt()
        assert noise.shape == implied.shape
        return target(prediction, guess, implied, alpha).float()

    timesteps = [t for band in (LOW, MID) for t in band_timesteps(schedule, 2)[band]]
    values = list(loss_values(misses_by_a_third, held, schedule, prediction, timesteps))
    assert len(values) == 16
    assert [value.x0_mse for value in values] == pytest.approx([0.09] * 16, rel=1e-3)


def test_groups_are_thirds_by_the_rarest_tag() -> None:
    frequency = {("a", "general"): 0.9, ("b", "general"): 0.3, ("c", "general"): 0.01}

    def image(name: str, tags: str) -> HeldOutImage:
        pairs = [(tag, "general") for tag in tags]
        return HeldOutImage(name, "", pairs, torch.zeros(1), (0, 0, 0, 0, 0, 0))

    images = [image("1", "ac"), image("2", "a"), image("3", "ab"), image("4", "a"), image("5", "")]
    groups = rarity_groups(images, frequency)
    assert groups == {"head_tags": ["2"], "mid_tags": ["4", "3"], "tail_tags": ["1"]}
    assert rarity_groups(images[:2], frequency) == {}


def test_without_held_out_images_one_note_is_made(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "data/manifest.parquet"
    table = read_table(path, MANIFEST)
    place = table.schema.get_field_index("split")
    everything = pa.array(["train"] * table.num_rows, table.schema.field("split").type)
    write_table(table.set_column(place, table.schema.field("split"), everything), path, MANIFEST)
    recorder = train(tmp_path / "w", preview_every=0)
    assert capsys.readouterr().out.count("the held-out error is not measured") == 1
    assert recorder.looks == []
    metrics = read_json(tmp_path / "w/output/training.json")
    assert all(math.isfinite(value) for value in metrics.values())
    assert not any(name.startswith("heldout") for name in metrics)


def test_trained_text_encoders_are_asked_anew_at_each_measurement(project: Path) -> None:
    params = read_section("train", TrainParams)
    rates = {"learning_rate_factor": {"first": 1.0, "second": 1.0}}
    trained = TrainParams.model_validate(
        params.model_dump(by_alias=True) | {"text_encoders": rates}
    )
    text = load_text(Path("models/base"), dtype=torch.float32)
    unet = load_unet(Path("models/base"))
    with torch.no_grad():  # every branch begins with a last layer of zeros
        for weight in unet.parameters():
            weight.normal_(std=0.1)
    measured = []
    for settings in (params, trained):
        found = load_validator(
            Path("data"),
            settings,
            noise=read_section("noise", NoiseParams),
            schedule=ZERO_TERMINAL,
            scaling=latent_scaling(params.latent_scaling),
            text=text,
        )
        assert found is not None
        before = found.measure(unet)
        with torch.no_grad():
            text.text_encoder_2.text_projection.weight.normal_()
        measured.append(before != found.measure(unet))
    assert measured == [False, True]
