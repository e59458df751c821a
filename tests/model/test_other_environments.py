"""The README's "diffusers opens `models/checkpoint` as it is", in three environments.

Beside the locked libraries: an early transformers 5, and the 4.x that training scripts pin with an
older diffusers. What they make of a checkpoint is compared with what Nadir makes of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from PIL import Image
from tests.model.conftest import SCALING, write_checkpoint
from tests.support.clip_vocabulary import write_clip_tokenizers
from tests.support.other_environments import LOCKED, run_in
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from nadir.config.base_model import BaseModelParams, TinyParams
from nadir.ground.files import read_json
from nadir.model.fetch import fetch_base
from nadir.model.load import load_pipeline
from nadir.model.sdxl.autoencoder import images_to_tensor
from nadir.model.sdxl.networks import load_text, load_vae
from nadir.model.single_file.writing import export_single_file
from nadir.sampling.generate import generate, start_noise
from nadir.sampling.prompt_encodings import PromptEncodings, text_encoder
from nadir.sampling.prompt_format import PromptFormat

SCRIPT = Path(__file__).with_name("stock_programs.py")
ENVIRONMENTS = {
    LOCKED: "5.23.0 0.42.1",
    "transformers-5.5.4": "5.5.4 0.42.1",
    "transformers-4.54.1": "4.54.1 0.32.1",
}
TINY, REAL = "tiny", "real_vocabulary"
PROMPT, SEED, STEPS = "1girl, red_hair, black_background", 3, 8
WIDTH, HEIGHT = 64, 48
LEVEL = 1 / 255

Seen = dict[str, Mapping[str, Any]]


def settle(base: Path) -> None:
    """Let the VAE's posterior have next to no spread, as a trained one's, so that round trips are
    exact; written over, in place."""
    vae = load_vae(base)
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0.0
        vae.quant_conv.bias[4:] = -25.0
    vae.save_pretrained(base / "vae")


def write_single_file(base: Path, folder: Path) -> Path:
    """An SDXL with CLIP's vocabulary as users have it: one file, tokenizers beside it."""
    model = folder / "model"
    shutil.copytree(base, model, ignore=shutil.ignore_patterns("tokenizer*"))
    write_clip_tokenizers(model)
    torch.manual_seed(0)
    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    for part, kind in kinds.items():
        config = CLIPTextConfig.from_pretrained(model / part)
        ids = {"bos_token_id": 49_406, "eos_token_id": 49_407, "pad_token_id": 49_407}
        config.update({"vocab_size": 49_408, **ids})
        kind(config).save_pretrained(model / part)
    file = folder / "sdxl.safetensors"
    export_single_file(model, file, precision="fp32")
    for part in ("tokenizer", "tokenizer_2"):
        shutil.move(model / part, folder / part)
    shutil.rmtree(model)
    return file


@pytest.fixture(scope="module")
def models(
    base: Path, small_tiny: TinyParams, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path]]:
    """Base and checkpoint of a model made from scratch, and of one imported from a single file."""
    folder = tmp_path_factory.mktemp("models")
    tiny, real = folder / "tiny_base", folder / "real_base"
    shutil.copytree(base, tiny)
    settle(tiny)
    values = {"revision": None, "variant": None, "tiny": small_tiny}
    source = str(write_single_file(tiny, folder / "single"))
    fetch_base(BaseModelParams.model_construct(source=source, **values), real)
    return {
        name: (made, write_checkpoint(folder / name, made))
        for name, made in ((TINY, tiny), (REAL, real))
    }


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every environment draws from."""
    folder = tmp_path_factory.mktemp("job")
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([x * 4, y * 5, (x * 3 + y * 2) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    noise_CHW = start_noise(PROMPT, SEED, (4, HEIGHT // 4, WIDTH // 4))
    np.save(folder / "noise.npy", noise_CHW[None].numpy())
    value = {"prompt": PROMPT, "seed": SEED, "steps": STEPS, "width": WIDTH, "height": HEIGHT}
    value |= {"noise": str(folder / "noise.npy"), "picture": str(folder / "picture.png")}
    (folder / "job.json").write_text(json.dumps(value), encoding="utf-8")
    return folder / "job.json"


@pytest.fixture(scope="module", params=list(ENVIRONMENTS))
def seen(
    request: pytest.FixtureRequest,
    models: dict[str, tuple[Path, Path]],
    job: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Seen:
    """What one environment's stock libraries make of the checkpoints."""
    out = tmp_path_factory.mktemp("seen")
    checkpoints = [str(checkpoint) for _, checkpoint in models.values()]
    run_in(request.param, SCRIPT, str(job), str(out), *checkpoints)
    found = {name: np.load(out / f"{name}.npz") for name in models}
    assert {str(values["versions"]) for values in found.values()} == {ENVIRONMENTS[request.param]}
    return found


@pytest.fixture(scope="module")
def expected(
    models: dict[str, tuple[Path, Path]], job: Path, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """What Nadir makes of the same checkpoints."""
    picture = Image.open(read_json(job)["picture"])
    found = {}
    for name, (base, checkpoint) in models.items():
        folder = tmp_path_factory.mktemp(name)
        export_single_file(checkpoint, folder / "nadir.safetensors", precision="fp32")
        for part in ("tokenizer", "tokenizer_2"):
            shutil.copytree(checkpoint / part, folder / part)
        hidden_BSD, pooled_BP = load_text(checkpoint).encode([PROMPT])
        found[name] = {
            "hidden": hidden_BSD.numpy(),
            "pooled": pooled_BP.numpy(),
            "folder": drawn_by_nadir(checkpoint),
            "file": drawn_by_nadir(folder / "nadir.safetensors"),
            "image_to_image": drawn_from(picture, base, checkpoint),
            "round_trip": through_vae(picture, base),
        }
    return found


def drawn_by_nadir(model: Path) -> np.ndarray:
    """Pixels [H, W, 3] in 0-1 of the job's prompt and seed, by the sampler that stock uses."""
    pipeline = load_pipeline(model, sampler="euler", spacing="trailing")
    encodings = PromptEncodings(text_encoder(pipeline), PromptFormat.of({}).captions)
    (drawing,) = generate(
        pipeline,
        [(PROMPT, SEED)],
        encodings=encodings,
        cfg_scale=4.5,
        steps=STEPS,
        size=(WIDTH, HEIGHT),
    )
    return drawing.pixels_CHW.transpose(1, 2, 0)


def drawn_from(picture: Image.Image, base: Path, checkpoint: Path) -> np.ndarray:
    """Image to image with the base's own VAE, told the mean and std that this pipeline knows."""
    vae = load_vae(base)
    vae.register_to_config(**SCALING.vae_config())
    pipeline = StableDiffusionXLImg2ImgPipeline.from_pretrained(
        checkpoint, vae=vae, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    drawn: np.ndarray = pipeline(
        prompt=PROMPT,
        image=picture,
        num_inference_steps=STEPS,
        strength=0.5,
        guidance_scale=4.5,
        generator=torch.Generator().manual_seed(SEED),
        output_type="np",
    ).images[0]
    return drawn


def through_vae(picture: Image.Image, base: Path) -> np.ndarray:
    """The picture as the base's VAE gives it back."""
    vae = load_vae(base)
    with torch.no_grad():
        raw_NCHW = vae.encode(images_to_tensor([picture])).latent_dist.mean
        pixels_CHW = vae.decode(raw_NCHW).sample[0] / 2 + 0.5
    return pixels_CHW.clamp(0, 1).permute(1, 2, 0).numpy()


def difference(seen: np.ndarray, expected: np.ndarray) -> float:
    """Largest, over all pixels and channels."""
    assert seen.shape == expected.shape
    assert expected.std() > 0.02
    return float(np.abs(seen - expected).max())


@pytest.mark.parametrize("name", [TINY, REAL])
def test_no_weight_is_missing_unknown_or_drawn_at_random(seen: Seen, name: str) -> None:
    faults = json.loads(str(seen[name]["faults"]))
    assert faults == {"text_encoder": [], "text_encoder_2": [], "unet": [], "vae": []}


@pytest.mark.parametrize("name", [TINY, REAL])
def test_prompts_are_encoded_as_nadir_encodes_them(seen: Seen, expected: Seen, name: str) -> None:
    assert difference(seen[name]["hidden"], expected[name]["hidden"]) < 1e-4
    assert difference(seen[name]["pooled"], expected[name]["pooled"]) < 1e-4


def test_the_bare_tokenizers_of_a_single_files_base_give_clips_tokens(seen: Seen) -> None:
    # 1girl, red_hair, black_background, by OpenCLIP.
    ids = [272, 1611, 267, 736, 318, 2225, 267, 1449, 318, 5994]
    tokens = [49_406, *ids, 49_407]
    assert json.loads(str(seen[REAL]["tokens"])) == [tokens, tokens]


@pytest.mark.parametrize("name", [TINY, REAL])
@pytest.mark.parametrize("source", ["folder", "file"])
def test_stock_text_to_image_draws_what_nadir_draws(
    seen: Seen, expected: Seen, name: str, source: str
) -> None:
    assert difference(seen[name]["text_to_image"], expected[name][source]) < LEVEL


@pytest.mark.parametrize("name", [TINY, REAL])
def test_stock_inpainting_keeps_what_it_is_told_to_keep(
    seen: Seen, expected: Seen, name: str
) -> None:
    """To the VAE's own round trip."""
    assert difference(seen[name]["inpainting"], expected[name]["round_trip"]) < LEVEL


@pytest.mark.parametrize("name", [TINY, REAL])
def test_stock_image_to_image_starts_from_the_latents_that_training_used(
    seen: Seen, expected: Seen, name: str
) -> None:
    assert difference(seen[name]["image_to_image"], expected[name]["image_to_image"]) < LEVEL


def test_nadirs_own_pipeline_knows_the_exclamation_mark_and_stocks_does_not(
    models: dict[str, tuple[Path, Path]],
) -> None:
    checkpoint = models[REAL][1]
    expected_BSD, _ = load_text(checkpoint).encode(["love live!"])
    ours, stock = (
        pipeline.encode_prompt("love live!", device="cpu")[0].detach().numpy()
        for pipeline in (
            load_pipeline(checkpoint),
            StableDiffusionXLPipeline.from_pretrained(checkpoint, local_files_only=True),
        )
    )
    assert difference(ours, expected_BSD.numpy()) < 1e-5
    assert difference(stock, expected_BSD.numpy()) > 0.1
