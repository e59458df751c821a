"""Fine-tuning changes the decoder alone, takes a planted grid away, and resumes to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from nadir.config.decoder import DecoderParams
from nadir.config.reader import read_section
from nadir.ground.errors import NadirError
from nadir.model.checkpoint.decoder_weights import decoder_parameters
from nadir.model.sdxl.autoencoder import tensor_to_images
from nadir.model.sdxl.hashing import encoder_hash, tensors_hash
from nadir.training.decoder.measuring import reconstruct
from nadir.training.decoder.tuning import DecoderTuner
from nadir.training.state import CheckpointStore
from nadir.training.stop_request import StoppedError, StopRequest

SIDE = 32


@pytest.fixture(scope="module")
def params(pytestconfig: pytest.Config) -> DecoderParams:
    usual = read_section("decoder", DecoderParams, pytestconfig.rootpath / "params.yaml")
    return changed(usual, steps=6, batch_size=4, crop_px=SIDE, checkpoint_every=2)


def changed(params: DecoderParams, **changes: Any) -> DecoderParams:
    return DecoderParams.model_validate(params.model_dump() | changes)


def small_vae() -> AutoencoderKL:
    """Always the same one, untrained; eight pixels a latent, as SDXL's."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=[8] * 4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
    ).eval()


def pictures(step: int, count: int = 4) -> torch.Tensor:
    """Soft colours, [count, 3, SIDE, SIDE] in [-1, 1]."""
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(count, 3, 3, 3, generator=generator) * 2 - 1
    size = (SIDE, SIDE)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(-1, 1)


def plain(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    return pictures(step), pictures(step)


def with_grid(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What a decoder learns a grid from: pictures, and the same with darker lines to be drawn."""
    clean, wanted = plain(step)
    wanted[..., ::8] -= 0.3
    wanted[..., ::8, :] -= 0.3
    return clean, wanted


def decoder_hash(vae: AutoencoderKL) -> str:
    return tensors_hash(decoder_parameters(vae))


def store(folder: Path, fingerprint: str = "f") -> CheckpointStore:
    return CheckpointStore(folder, fingerprint=fingerprint, keep=1, warn=print)


@pytest.fixture(scope="module")
def undisturbed(params: DecoderParams) -> str:
    """Hash of the decoder after all steps at once."""
    vae = small_vae()
    DecoderTuner(vae, params, plain).tune()
    return decoder_hash(vae)


def test_the_decoder_changes_and_the_encoder_stays_to_the_bit(undisturbed: str) -> None:
    vae = small_vae()
    assert undisturbed != decoder_hash(vae)
    names = {name.partition(".")[0] for name in decoder_parameters(vae)}
    assert names == {"decoder", "post_quant_conv"}


def test_a_planted_grid_is_taken_away(params: DecoderParams) -> None:
    many = changed(params, steps=40, learning_rate=0.01, ema_decay=0.9, checkpoint_every=99)
    vae, images = small_vae(), tensor_to_images(pictures(1000, 12))
    encoder = encoder_hash(vae)
    DecoderTuner(vae, many, with_grid).tune()
    planted = reconstruct(vae, images)
    DecoderTuner(vae, many, plain).tune()
    tuned = reconstruct(vae, images)
    assert planted
    assert tuned
    assert planted.blockiness > 2 > 2 * abs(tuned.blockiness - tuned.of_images)
    assert tuned.psnr_db > planted.psnr_db
    assert encoder_hash(vae) == encoder


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_stopped_training_goes_on_to_the_same_bits(
    params: DecoderParams, tmp_path: Path, ema_decay: float
) -> None:
    averaged, stop = changed(params, ema_decay=ema_decay), StopRequest()
    whole = small_vae()
    DecoderTuner(whole, averaged, plain).tune()

    def stopping(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        stop.requested = step == 2
        return plain(step)

    first = DecoderTuner(small_vae(), averaged, stopping, store=store(tmp_path), stop=stop)
    with pytest.raises(StoppedError, match="stopped on request after step 3"):
        first.tune()
    vae = small_vae()
    second = DecoderTuner(vae, averaged, plain, store=store(tmp_path))
    assert second.resume()
    assert second.step == 3
    second.tune()
    assert decoder_hash(vae) == decoder_hash(whole)
    assert second.loss_last_100 > 0


def test_a_killed_training_goes_on_from_the_last_state_to_the_same_bits(
    params: DecoderParams, undisturbed: str, tmp_path: Path
) -> None:
    def killed(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step == 5:
            raise KeyboardInterrupt
        return plain(step)

    with pytest.raises(KeyboardInterrupt):
        DecoderTuner(small_vae(), params, killed, store=store(tmp_path)).tune()
    vae = small_vae()
    again = DecoderTuner(vae, params, plain, store=store(tmp_path))
    assert again.resume()
    assert again.step == 4
    again.tune()
    assert decoder_hash(vae) == undisturbed


def test_a_state_of_other_inputs_is_refused(params: DecoderParams, tmp_path: Path) -> None:
    DecoderTuner(small_vae(), params, plain, store=store(tmp_path)).tune()
    with pytest.raises(NadirError, match="belongs to another training"):
        DecoderTuner(small_vae(), params, plain, store=store(tmp_path, "g")).resume()


def test_a_batch_in_parts_gives_the_same_up_to_rounding(params: DecoderParams) -> None:
    ends = []
    for parts in (1, 4):
        vae = small_vae()
        DecoderTuner(vae, changed(params, gradient_accumulation=parts), plain).tune()
        ends.append(torch.cat([weight.flatten() for weight in decoder_parameters(vae).values()]))
    # One by one they may differ more: Adam divides by gradients that are next to nothing.
    assert float((ends[0] - ends[1]).abs().mean()) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.002},
        {"ema_decay": 0.0},
        {"loss": {"absolute": 2.0, "square": 1.0, "edges": 1.0}},
        {"loss": {"absolute": 1.0, "square": 3.0, "edges": 1.0}},
        {"loss": {"absolute": 1.0, "square": 1.0, "edges": 0.0}},
    ],
)
def test_every_setting_has_an_effect(
    params: DecoderParams, undisturbed: str, changes: dict[str, Any]
) -> None:
    vae = small_vae()
    DecoderTuner(vae, changed(params, **changes), plain).tune()
    assert decoder_hash(vae) != undisturbed


def test_a_loss_that_is_not_a_number_ends_it_with_one_error(
    params: DecoderParams, tmp_path: Path
) -> None:
    def spoilt(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        clean, wanted = plain(step)
        return clean, wanted if step < 3 else wanted * float("nan")

    tuner = DecoderTuner(small_vae(), params, spoilt, store=store(tmp_path))
    with pytest.raises(NadirError, match="the decoder's loss is nan at step 4") as error:
        tuner.tune()
    assert "lower decoder.learning_rate" in str(error.value)
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-000002"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": -1}, "greater than or equal to 0"),
        ({"crop_px": 20}, "multiple of 8"),
        ({"batch_size": 4, "gradient_accumulation": 3}, "must be a multiple of"),
        ({"loss": {"absolute": 0.0, "square": 0.0, "edges": 0.0}}, "must be above 0"),
    ],
)
def test_settings_without_sense_are_refused(
    params: DecoderParams, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        changed(params, **changes)
