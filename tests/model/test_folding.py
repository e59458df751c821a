"""The published VAE works by SDXL's factor alone, and so does all that is made of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from tests.model.conftest import NOISE, SCALING, write_checkpoint
from tests.model.test_checkpoint import draw

from nadir.config.base_model import BaseModelParams, TinyParams
from nadir.ground.errors import NadirError
from nadir.ground.files import file_hash, link_tree, read_json, write_json
from nadir.model.checkpoint.decoder_file import tuned_decoder
from nadir.model.checkpoint.decoder_weights import decoder_parameters, put_decoder, write_decoder
from nadir.model.checkpoint.folder_checks import load_checked
from nadir.model.checkpoint.folding import STOCK_SCALING, publish_decoder, write_vae
from nadir.model.fetch import fetch_base
from nadir.model.load import LatentScaling, load_checkpoint_info, load_pipeline
from nadir.model.sdxl.hashing import encoder_hash
from nadir.model.sdxl.networks import load_unet, load_vae
from nadir.model.single_file.writing import export_single_file
from nadir.training.run import latent_scaling

NAMES = ("scaling_factor", "latents_mean", "latents_std")


@pytest.fixture(scope="module")
def old(checkpoint: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint as format 1 had it: the base's VAE, mean and std in its configuration."""
    folder = tmp_path_factory.mktemp("models") / "old"
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("vae", "nadir.json"))
    shutil.copytree(base / "vae", folder / "vae")
    config = read_json(base / "vae/config.json")
    (folder / "vae/config.json").unlink()
    write_json(folder / "vae/config.json", config | SCALING.vae_config())
    write_json(folder / "nadir.json", read_json(checkpoint / "nadir.json") | {"format": 1})
    return folder


def picture() -> torch.Tensor:
    """Smooth pixels [1, 3, 48, 64] in [-1, 1]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 64), indexing="ij")
    return torch.stack([x, y, (x * y)])[None]


def test_the_configuration_names_sdxls_factor_and_nothing_else(checkpoint: Path) -> None:
    config = read_json(checkpoint / "vae/config.json")
    assert [config[name] for name in NAMES] == [0.13025, None, None]
    assert load_checkpoint_info(checkpoint).latent_scaling == SCALING


def test_it_encodes_to_and_decodes_from_what_the_unet_was_trained_on(
    checkpoint: Path, base: Path
) -> None:
    plain, published = load_vae(base), load_vae(checkpoint)
    with torch.no_grad():
        raw_NCHW = plain.encode(picture()).latent_dist.mean
        normal_NCHW = published.encode(picture()).latent_dist.mean * 0.13025
        torch.testing.assert_close(normal_NCHW, SCALING.normalise(raw_NCHW), rtol=1e-4, atol=1e-5)
        expected = plain.decode(SCALING.denormalise(normal_NCHW)).sample
        torch.testing.assert_close(published.decode(normal_NCHW / 0.13025).sample, expected)


def test_sdxls_own_factor_needs_no_other_vae(base: Path, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", base, scaling=STOCK_SCALING)
    weights = "vae/diffusion_pytorch_model.safetensors"
    assert (folder / weights).samefile(base / weights)


def test_another_factor_is_folded_as_well(base: Path, tmp_path: Path) -> None:
    scaling = LatentScaling("sdxl", scaling_factor=0.7)
    folder = write_checkpoint(tmp_path / "checkpoint", base, scaling=scaling)
    assert read_json(folder / "vae/config.json")["scaling_factor"] == 0.13025
    assert load_checkpoint_info(folder).latent_scaling == scaling


def test_a_shift_and_eight_channels_are_folded_as_well(tmp_path: Path) -> None:
    config = {"scaling_factor": 0.1406, "shift_factor": -0.4743, "latent_channels": 8}
    torch.manual_seed(0)
    AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, **config).save_pretrained(
        tmp_path / "base/vae"
    )
    plain = load_vae(tmp_path / "base")
    write_vae(tmp_path / "base/vae", tmp_path / "new/vae", LatentScaling.from_vae_config(config))
    published = load_vae(tmp_path / "new")
    with torch.no_grad():
        normal = (plain.encode(picture()).latent_dist.mean + 0.4743) * 0.1406
        found = published.encode(picture()).latent_dist.mean * 0.13025
        torch.testing.assert_close(found, normal, rtol=1e-4, atol=1e-5)
        expected = plain.decode(normal / 0.1406 - 0.4743).sample
        again = published.decode(normal / 0.13025).sample
        torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-5)
    assert published.config.shift_factor is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"padding_mode": "reflect"}, "pads its convolutions by 'reflect'"),
        ({"_class_name": "AutoencoderKLFlux2"}, "is an AutoencoderKLFlux2"),
        ({"use_quant_conv": False}, "has no quant_conv"),
        ({"latent_channels": 16}, "its U-Net takes 4 channels and the VAE gives 16"),
    ],
)
def test_a_vae_of_another_kind_is_refused_by_name(
    base: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    shutil.copytree(base, tmp_path / "base")
    config = tmp_path / "base/vae/config.json"
    write_json(config, read_json(config) | changes)
    with pytest.raises(NadirError, match=said):
        load_checked(tmp_path / "base", where="here")


def test_the_vae_keeps_its_precision(base: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(base, half)
    load_vae(base, dtype=torch.float16).save_pretrained(half / "vae")
    folder = write_checkpoint(tmp_path / "checkpoint", half)
    tensors = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    full = write_checkpoint(tmp_path / "full", base)
    actual, expected = (draw(load_pipeline(model)) for model in (folder, full))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.01)


def test_a_checkpoint_of_the_old_form_draws_the_same(old: Path, checkpoint: Path) -> None:
    assert load_checkpoint_info(old).noise == NOISE
    torch.testing.assert_close(draw(load_pipeline(old)), draw(load_pipeline(checkpoint)))


@pytest.mark.parametrize("form", ["old", "checkpoint"])
def test_a_file_is_folded_once_whatever_it_is_made_of(
    request: pytest.FixtureRequest, checkpoint: Path, tmp_path: Path, form: str
) -> None:
    export_single_file(request.getfixturevalue(form), tmp_path / "x.safetensors", precision="fp32")
    actual = draw(load_pipeline(tmp_path / "x.safetensors"))
    torch.testing.assert_close(actual, draw(load_pipeline(checkpoint)), rtol=0, atol=2e-5)


@pytest.mark.parametrize("form", ["old", "checkpoint"])
def test_training_goes_on_from_a_checkpoint_where_it_ended(
    request: pytest.FixtureRequest,
    base: Path,
    small_tiny: TinyParams,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    """As the next base, with its own scaling: the U-Net sees the latents that it knows."""
    source = request.getfixturevalue(form)
    monkeypatch.chdir(tmp_path)
    values = {"source": str(source), "revision": None, "variant": None, "tiny": small_tiny}
    fetch_base(BaseModelParams.model_construct(**values), Path("models/base"))
    vae, scaling = load_vae(Path("models/base")), latent_scaling("sdxl")
    with torch.no_grad():
        raw_NCHW = load_vae(base).encode(picture()).latent_dist.mean
        again_NCHW = vae.encode(picture()).latent_dist.mean
    torch.testing.assert_close(
        scaling.normalise(again_NCHW), SCALING.normalise(raw_NCHW), rtol=1e-4, atol=1e-5
    )
    folder = write_checkpoint(Path("next"), Path("models/base"), scaling=scaling)
    load_unet(source).save_pretrained(folder / "unet")
    torch.testing.assert_close(draw(load_pipeline(folder)), draw(load_pipeline(source)))


def test_a_fine_tuned_decoder_is_folded_exactly_and_the_encoder_stays(
    checkpoint: Path, base: Path, tmp_path: Path
) -> None:
    tuned = load_vae(base)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in decoder_parameters(tuned).values():
            weight.add_(0.01 * torch.randn(weight.shape))
    write_decoder(tuned, tmp_path, torch.float32)
    folder = tmp_path / "checkpoint"
    link_tree(checkpoint, folder)
    publish_decoder(folder, base, tuned_decoder(tmp_path))
    before, after = load_vae(checkpoint), load_vae(folder)
    assert encoder_hash(after) == encoder_hash(before)
    with torch.no_grad():
        raw_NCHW = tuned.encode(picture()).latent_dist.mean
        normal_NCHW = after.encode(picture()).latent_dist.mean * 0.13025
        torch.testing.assert_close(normal_NCHW, SCALING.normalise(raw_NCHW), rtol=1e-4, atol=1e-5)
        expected = tuned.decode(SCALING.denormalise(normal_NCHW)).sample
        found = after.decode(normal_NCHW / 0.13025).sample
        torch.testing.assert_close(found, expected)
        assert float((found - before.decode(normal_NCHW / 0.13025).sample).abs().mean()) > 1e-3
    facts = read_json(folder / "nadir.json")
    assert facts == read_json(checkpoint / "nadir.json") | {
        "decoder": file_hash(tmp_path / "decoder.safetensors")
    }
    load_pipeline(folder)


def test_without_a_fine_tuned_decoder_nothing_is_written(
    checkpoint: Path, base: Path, tmp_path: Path
) -> None:
    link_tree(checkpoint, tmp_path / "checkpoint")
    publish_decoder(tmp_path / "checkpoint", base, tuned_decoder(tmp_path))
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    assert all(
        path.samefile(tmp_path / "checkpoint" / path.relative_to(checkpoint)) for path in files
    )


def test_the_decoder_of_another_vae_is_refused(base: Path, tmp_path: Path) -> None:
    other = AutoencoderKL(block_out_channels=[8], norm_num_groups=4)
    write_decoder(other, tmp_path, torch.float32)
    with pytest.raises(NadirError, match="not one of the base model's VAE") as error:
        put_decoder(load_vae(base), tuned_decoder(tmp_path))
    assert "dvc repro decoder" in str(error.value)
