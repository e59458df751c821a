from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL.Image import Image
from ruamel.yaml import YAML
from safetensors.torch import load_file
from tests.support.training_project import BUCKETS

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.model.load import load_checkpoint_info
from nadir.model.sdxl.networks import load_unet
from nadir.training.main import make_accelerator, prepare_run
from nadir.training.reports.reporter import NoReporter
from nadir.training.run import Run
from nadir.training.stop_request import StopRequest
from nadir.training.train_step import TrainStep
from nadir.training.trainable import FullUNet, make_trainable
from nadir.training.trainer import Trainer
from nadir.training.validation.levels import BANDS

FINGERPRINT = "f" * 64
QUIET = {"preview_every": 0, "validation": {"every": 0, "images": 6, "levels": 1}}
SMALL = {
    "optimizer": "adamw_8bit",
    "weights": "bf16",
    "mixed_precision": "bf16",
    "step_in_backward": True,
}
CONSTANT = {"learning_rate_schedule": {"name": "constant"}, "ema_decay": 0.0}


class Recorder(NoReporter):
    """Notes everything; can ask for a stop at a step."""

    def __init__(self, stop: StopRequest | None = None, stop_at: int = 0) -> None:
        self.info: dict[str, Any] = {}
        self.steps: list[tuple[int, int, dict[str, float]]] = []
        self.looks: list[tuple[int, int, dict[str, float]]] = []
        self.previews: list[tuple[int, str, Image]] = []
        self.artifacts: list[str] = []
        self._stop, self._stop_at = stop, stop_at

    def started(self, info: dict[str, Any]) -> None:
        self.info = info

    def step(self, step: int, images: int, metrics: dict[str, float]) -> None:
        kept = self.steps if "loss" in metrics else self.looks
        kept.append((step, images, metrics))
        if self._stop_at and self._stop and step == self._stop_at:
            self._stop.requested = True

    def preview(self, step: int, name: str, image: Image) -> None:
        self.previews.append((step, name, image))

    def artifact(self, path: Path) -> None:
        self.artifacts.append(path.name)


def change_params(**train: Any) -> None:
    yaml = YAML()
    tree = yaml.load(Path("params.yaml").read_text(encoding="utf-8"))
    tree["train"].update(train)
    with Path("params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)


def train(work: Path, *, stop_at: int = 0, **changes: Any) -> Recorder:
    """Train the project at the working directory, in this process."""
    change_params(**changes)
    params = read_section("train", TrainParams)
    accelerator = make_accelerator(params)
    stop = StopRequest()
    recorder = Recorder(stop, stop_at)
    run = prepare_run(work, FINGERPRINT, params, accelerator, recorder)
    trainable = make_trainable(params, Path("models/base"), run.text)
    train_step = TrainStep(trainable, params, run.objective, accelerator)
    Trainer(run, train_step, accelerator, stop).train()
    return recorder


def weights(work: Path) -> dict[str, torch.Tensor]:
    return load_file(work / "output/checkpoint/unet/diffusion_pytorch_model.safetensors")


def assert_equal_weights(first: Path, second: Path) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


def test_training_leaves_a_checkpoint_metrics_and_a_loss_curve(
    project: Path, tmp_path: Path
) -> None:
    recorder = train(tmp_path / "w")
    output = tmp_path / "w/output"
    info = load_checkpoint_info(output / "checkpoint")
    assert info.noise["zero_terminal_snr"] is True
    assert NoiseSchedule.from_settings(**info.noise).alphas_cumprod[-1] == 0
    assert info.latent_scaling.std == (3.0,) * 4
    assert info.training["steps"] == 12
    assert info.training["images"] == 48
    assert info.training["fingerprint"] == FINGERPRINT
    assert info.training["original_size"][1] == 300
    assert info.training["buckets"] == [list(size) for size in sorted(BUCKETS)]
    assert info.training["aliases"] == {"redhead": "red_hair"}
    metrics = read_json(output / "training.json")
    own = {name for name in metrics if not name.startswith("heldout_")}
    assert own == {"steps", "images", "loss", "loss_last_100"}
    rows = (output / "loss.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 13
    assert recorder.artifacts == ["training.json", "loss.csv"]
    assert not (tmp_path / "w/.output.tmp").exists()


def test_only_the_unet_is_trained(project: Path, tmp_path: Path, base: Path) -> None:
    train(tmp_path / "w")
    output = tmp_path / "w/output/checkpoint"
    for part in ("text_encoder", "text_encoder_2"):
        (trained,) = (output / part).glob("*.safetensors")
        assert trained.read_bytes() == (base / part / trained.name).read_bytes()
    (vae,) = (output / "vae").glob("*.safetensors")
    original = load_file(base / "vae" / vae.name)
    changed = {name for name, t in load_file(vae).items() if not torch.equal(t, original[name])}
    # Into these the latent scaling is folded.
    assert {name.split(".")[0] for name in changed} == {"quant_conv", "post_quant_conv"}
    (before,) = (base / "unet").glob("*.safetensors")
    assert any(
        not torch.equal(tensor, weights(tmp_path / "w")[name])
        for name, tensor in load_file(before).items()
    )


def test_the_tracker_hears_of_facts_metrics_and_previews_from_step_zero(
    project: Path, tmp_path: Path
) -> None:
    recorder = train(tmp_path / "w")
    shares = [v for k, v in recorder.info.items() if k.startswith("loss_weight_share.")]
    assert recorder.info["training_images"] == 54
    assert len(shares) > 3
    assert [(step, images) for step, images, _ in recorder.steps] == [
        (step, 4 * step) for step in range(1, 13)
    ]
    bands = {f"training_{band}" for band in BANDS}
    assert recorder.steps[0][2].keys() - bands == {
        "loss",
        "unweighted_loss",
        "gradient_norm",
        "learning_rate",
        "images_per_second",
    }
    assert bands <= {name for *_, metrics in recorder.steps for name in metrics}
    for *_, metrics in recorder.steps:  # four samples a step, and a row for each step
        errors = [metrics[band] for band in bands & metrics.keys()]
        assert min(errors) <= metrics["unweighted_loss"] * (1 + 1e-5)
        assert max(errors) >= metrics["unweighted_loss"] * (1 - 1e-5)
    assert [step for step, *_ in recorder.previews] == [0, 6, 12]
    assert {image.size for *_, image in recorder.previews} <= {(32, 32), (40, 24)}


def test_an_interrupted_and_resumed_run_ends_with_the_same_bits(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "whole")
    with pytest.raises(NadirError, match="stopped on request after step 8 of 12"):
        train(tmp_path / "parts", stop_at=7)  # noticed by the next step
    assert not (tmp_path / "parts/output").exists()
    capsys.readouterr()
    train(tmp_path / "parts")
    assert "resuming from step 8 (" in capsys.readouterr().out
    assert_equal_weights(tmp_path / "whole", tmp_path / "parts")
    for name in ("training.json", "loss.csv"):
        whole = (tmp_path / "whole/output" / name).read_bytes()
        assert (tmp_path / "parts/output" / name).read_bytes() == whole


@pytest.mark.parametrize(
    "changes", [{"optimizer": "adafactor"}, {"optimizer": "muon"}, {"ema_decay": 0.0}]
)
def test_resuming_is_exact_for_other_optimizers_and_without_average(
    project: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    train(tmp_path / "whole", **changes)
    with pytest.raises(NadirError, match="stopped on request"):
        train(tmp_path / "parts", stop_at=5, **changes)
    train(tmp_path / "parts", **changes)
    assert_equal_weights(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("changes", [{}, SMALL, {"optimizer": "schedule_free", **CONSTANT}])
def test_a_run_killed_between_checkpoints_resumes_from_the_last_whole_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    change_params(**QUIET)
    train(tmp_path / "whole", **changes)
    real, seen = TrainStep.step, []

    def dies_at_eleven(self: TrainStep, number: int, *rest: Any, **named: Any) -> Any:
        seen.append(number)
        if number == 10:
            raise KeyboardInterrupt
        return real(self, number, *rest, **named)

    monkeypatch.setattr(TrainStep, "step", dies_at_eleven)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts")
    monkeypatch.setattr(TrainStep, "step", real)
    assert sorted(p.name for p in (tmp_path / "parts/checkpoints").iterdir()) == [
        "step-000004",
        "step-000008",
    ]
    damaged = tmp_path / "parts/checkpoints/step-000008/weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    train(tmp_path / "parts")
    assert_equal_weights(tmp_path / "whole", tmp_path / "parts")


def test_a_run_that_dies_while_it_publishes_trains_no_step_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_outputs", full)
        with pytest.raises(OSError, match="no space"):
            train(tmp_path / "w")
    again = train(tmp_path / "w")
    assert again.steps == []
    assert weights(tmp_path / "w")
    assert read_json(tmp_path / "w/output/training.json")["steps"] == 12


def test_a_stop_at_the_last_step_still_finishes(project: Path, tmp_path: Path) -> None:
    train(tmp_path / "w", stop_at=12)
    assert (tmp_path / "w/output").is_dir()


def test_without_average_the_last_weights_are_published_and_with_it_not(
    project: Path, tmp_path: Path
) -> None:
    train(tmp_path / "average")
    train(tmp_path / "last", ema_decay=0.0)
    a, b = weights(tmp_path / "average"), weights(tmp_path / "last")
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_gradient_accumulation_changes_the_result_by_rounding_alone(
    project: Path, tmp_path: Path
) -> None:
    train(tmp_path / "one", steps=3, ema_decay=0.0, optimizer="adafactor")
    train(tmp_path / "four", gradient_accumulation=4)
    first, second = (
        read_json(tmp_path / name / "output/training.json")["loss_last_100"]
        for name in ("one", "four")
    )
    assert first == pytest.approx(second, rel=1e-4)


def test_bf16_trains_float32_weights_and_draws_previews(project: Path, tmp_path: Path) -> None:
    recorder = train(tmp_path / "w", mixed_precision="bf16", gradient_checkpointing=True)
    assert {tensor.dtype for tensor in weights(tmp_path / "w").values()} == {torch.float32}
    assert all(bool(tensor.isfinite().all()) for tensor in weights(tmp_path / "w").values())
    assert len(recorder.previews) == 3


def test_the_loss_falls(project: Path, tmp_path: Path) -> None:
    train(tmp_path / "w", steps=90, batch_size=16, learning_rate=0.01, preview_every=0)
    rows = (tmp_path / "w/output/loss.csv").read_text(encoding="utf-8").splitlines()[1:]
    losses = [float(row.split(",")[2]) for row in rows]
    assert sum(losses[-5:]) / 5 < 0.85 * losses[0]


def test_a_batch_that_parts_do_not_divide_is_an_error(project: Path, tmp_path: Path) -> None:
    params = read_section("train", TrainParams)
    broken = params.model_copy(update={"gradient_accumulation": 3})
    accelerator = make_accelerator(params)
    run = prepare_run(tmp_path / "w", FINGERPRINT, params, accelerator, NoReporter())
    with pytest.raises(NadirError, match="a batch of 4 images cannot be split"):
        TrainStep(FullUNet(load_unet(Path("models/base"))), broken, run.objective, accelerator)


def test_captions_that_are_cut_off_are_told_before_training(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    params = read_section("train", TrainParams)
    accelerator = make_accelerator(params)
    prepare_run(tmp_path / "w", FINGERPRINT, params, accelerator, NoReporter())
    assert "WARNING" not in capsys.readouterr().out
    # Four tags and the commas between them are seven tokens.
    monkeypatch.setattr("nadir.data.tags.caption_lengths.CHUNK_TOKENS", 6)
    prepare_run(tmp_path / "w", FINGERPRINT, params, accelerator, NoReporter())
    said = capsys.readouterr().out
    assert "WARNING train: " in said
    assert "of the captions" in said
    assert "the 6 tokens that are read, up to 7; cut off most often: " in said
