"""Each setting of the objective changes what is trained, and is named in the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.training_project import write_project
from tests.training.conftest import ROOT
from tests.training.test_trainer import train, weights

from nadir.config.edit import read_params
from nadir.training.reports.departures import departures

UNIFORM = {"distribution": "uniform", "min": 0.0, "max": 1.0, "shift": None}
HUBER = {"kind": "huber", "delta": 0.1, "schedule": "snr"}
ONE_BUCKET_PX = 32 * 32
SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "logit_normal": (
        {"timesteps": UNIFORM | {"distribution": "logit_normal", "mean": 0.0, "std": 1.0}},
        "logit-normal timesteps (mean 0, std 1)",
    ),
    "beta": (
        {"timesteps": UNIFORM | {"distribution": "beta", "alpha": 2.0, "beta": 1.0}},
        "beta timesteps (2, 1)",
    ),
    "range": ({"timesteps": UNIFORM | {"max": 0.5}}, "timesteps from 0 to 0.5 of all"),
    "shift": (
        {"timesteps": UNIFORM | {"shift": ONE_BUCKET_PX // 4}},
        "timesteps shifted by resolution (base area 256 px)",
    ),
    "huber": ({"loss": HUBER}, "huber loss (delta 0.1, snr)"),
    "smooth_l1": ({"loss": HUBER | {"kind": "smooth_l1"}}, "smooth_l1 loss (delta 0.1, snr)"),
    "learned": (
        {
            "loss_weight": {
                "name": "snr_plus_one",
                "gamma": 5.0,
                "learned": {"channels": 32, "learning_rate": 0.1},
            }
        },
        "learned loss weight",
    ),
    "regularisation": (
        {"regularisation": {"tags": {"smile": 0.1}, "folders": {}}},
        "regularisation images",
    ),
}
SHORT = {"steps": 3, "preview_every": 0, "ema_decay": 0.0, "optimizer": "adamw"}


def test_the_papers_setting_departs_in_nothing_and_the_sdxl_preset_in_its_scaling(
    root: Path,
) -> None:
    tiny, sdxl = (read_params(root / f"presets/{name}.yaml") for name in ("tiny", "sdxl"))
    assert departures(tiny.train, tiny.noise) == []
    assert departures(sdxl.train, sdxl.noise) == ["sdxl latent scaling"]


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("noise", {"prediction": "x0"}, "x0-prediction"),
        ("noise", {"zero_terminal_snr": False}, "no zero terminal SNR"),
        ("noise", {"sigma_shift": 2.0}, "sigmas times 2"),
        ("train", {"tag_weighting": False}, "no tag weighting"),
    ],
)
def test_older_settings_are_named_too(
    root: Path, section: str, changes: dict[str, Any], said: str
) -> None:
    params = read_params(root / "params.yaml")
    parts = {"train": params.train, "noise": params.noise}
    parts[section] = parts[section].model_copy(update=changes)
    assert departures(parts["train"], parts["noise"]) == [said]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, base: Path) -> float:
    """A weight of the model that the paper's setting trains."""
    folder = tmp_path_factory.mktemp("plain")
    params_text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    write_project(folder / "project", base=base, params_text=params_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "project")
        recorder = train(folder / "work", **SHORT)
    assert recorder.info["departures"] == "none"
    return float(weights(folder / "work")["conv_in.weight"].double().sum())


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_changes_the_training_and_is_named_in_the_run(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], plain: float, name: str
) -> None:
    changes, said = SETTINGS[name]
    recorder = train(tmp_path / "changed", **SHORT, **changes)
    assert float(weights(tmp_path / "changed")["conv_in.weight"].double().sum()) != plain
    assert recorder.info["departures"] == said
    assert f"train: departs from the paper: {said}\n" in capsys.readouterr().out


def test_timesteps_that_never_reach_the_terminal_step_are_warned_of(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    high = {"distribution": "beta", "alpha": 100.0, "beta": 1.0}
    train(tmp_path / "high", **SHORT, timesteps=UNIFORM | high)
    assert "terminal timestep" not in capsys.readouterr().out
    train(tmp_path / "low", **SHORT, timesteps=UNIFORM | {"max": 0.9})
    assert "draws the terminal timestep 0 times in the whole run" in capsys.readouterr().out


def test_the_logged_shares_of_the_weight_count_how_often_a_timestep_is_drawn(
    project: Path, tmp_path: Path
) -> None:
    recorder = train(tmp_path / "low", **SHORT, timesteps=UNIFORM | {"max": 0.2})
    assert recorder.info["loss_weight_share.sigma_0_to_1"] == pytest.approx(1)
    assert recorder.info["loss_weight_share.sigma_inf"] == 0.0
