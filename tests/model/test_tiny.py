from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from nadir.compute.threads import one_thread
from nadir.config.base_model import TinyParams
from nadir.ground.errors import NadirError
from nadir.model.muon import orthogonalise
from nadir.model.sdxl.autoencoder import decode_latents, encode_images, images_to_tensor
from nadir.model.tiny.networks import make_tiny
from nadir.model.tiny.textures import texture_batches
from nadir.model.tiny.vae_training import build_vae, train_vae
from nadir.synthetic.dataset import draw_scene

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def files(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_stock_diffusers_draws_with_it(base: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("1girl", num_inference_steps=2).images[0].size == (64, 64)


def test_equal_parameters_give_equal_files(
    base: Path, small_tiny: TinyParams, tmp_path: Path
) -> None:
    torch.manual_seed(123)
    make_tiny(tmp_path / "again", small_tiny)
    assert files(tmp_path / "again") == files(base)


def test_another_seed_gives_other_weights(
    base: Path, small_tiny: TinyParams, tmp_path: Path
) -> None:
    make_tiny(tmp_path / "other", small_tiny.model_copy(update={"seed": 1}))
    ours, theirs = files(base), files(tmp_path / "other")
    changed = {str(path.parent) for path in ours if ours[path] != theirs[path]}
    assert changed == {"unet", "vae", "text_encoder", "text_encoder_2"}


def test_making_it_leaves_the_callers_random_numbers_alone(
    small_tiny: TinyParams, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_tiny(tmp_path / "base", small_tiny)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unet_transformer_layers": (1,)}, "one entry per entry of unet_channels"),
        ({"unet_transformer_layers": (1, 0)}, "the middle of an SDXL U-Net has attention"),
        ({"unet_channels": (16, 36)}, "multiples of attention_head_dim and of 8"),
        ({"vae_channels": (8, 10)}, "vae_channels must be multiples of 4"),
        ({"text_hidden": (12, 16)}, "text_hidden must be multiples of 8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    small_tiny: TinyParams, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(NadirError, match=message):
        make_tiny(tmp_path / "base", small_tiny.model_copy(update=changes))
    assert not (tmp_path / "base").exists()


def test_training_pictures_depend_on_the_seed_alone() -> None:
    first, again, other = (next(texture_batches(seed, 32, 4, 1)) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()
    assert first.shape == (4, 32, 32, 3)


def test_training_pictures_hold_pure_black_and_pure_white() -> None:
    (pictures,) = texture_batches(0, 32, 200, 1)
    for level in (0, 255):
        assert (pictures == level).all(axis=-1).mean() > 0.03


def test_muon_makes_all_singular_values_about_one() -> None:
    matrix = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    for shape in (matrix, matrix.mT):
        values = torch.linalg.svdvals(orthogonalise(shape[None]))
        assert values.min() > 0.6
        assert values.max() < 1.3


@pytest.fixture(scope="module")
def vae(default_tiny: TinyParams) -> object:
    """The default VAE after a third of its steps."""
    params = default_tiny.model_copy(update={"vae_steps": 240})
    torch.manual_seed(0)
    vae = build_vae(params)
    with one_thread():
        train_vae(vae, params)
    return vae


def psnr(vae, image: Image.Image) -> float:
    """Decibels between an image and its decoded latent; 0 to 1 is the range of values."""
    decoded = decode_latents(vae, encode_images(vae, [image]))
    error = (images_to_tensor([image]) - images_to_tensor(decoded)) / 2
    return -10.0 * float(error.square().mean().log10())


def test_the_vae_learns_to_draw_characters_it_has_never_seen(vae) -> None:
    tags = "1girl, red_hair, blue_eyes, smile, white_background"
    scenes = [draw_scene(random.Random(seed), tags.split(", "))[0] for seed in range(8)]
    values = [psnr(vae, scene.resize((64, 64), Image.Resampling.LANCZOS)) for scene in scenes]
    assert sum(values) / len(values) > 19.0


def test_the_vae_keeps_black_black_and_white_white(vae) -> None:
    for colour, low, high in ((BLACK, 0.0, 0.05), (WHITE, 0.95, 1.0)):
        flat = [Image.new("RGB", (64, 40), colour)]
        (decoded,) = decode_latents(vae, encode_images(vae, flat))
        mean = (images_to_tensor([decoded]).mean() + 1) / 2
        assert low <= mean <= high


def test_latents_of_normal_pictures_have_unit_size_after_the_scaling_factor(vae) -> None:
    (pictures,) = texture_batches(99, 64, 16, 1)
    images = [Image.fromarray(picture) for picture in pictures]
    scaled = encode_images(vae, images) * vae.config.scaling_factor
    assert 0.7 < scaled.std() < 1.4
