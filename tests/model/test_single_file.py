from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.model.conftest import NOISE, SCALING, write_checkpoint
from tests.model.test_checkpoint import draw

from nadir.ground.errors import NadirError
from nadir.model.checkpoint.folding import fold_scaling
from nadir.model.load import (
    CheckpointInfo,
    LatentScaling,
    load_checkpoint_info,
    load_pipeline,
)
from nadir.model.sdxl.networks import load_text, load_unet, load_vae, sdxl_configs
from nadir.model.single_file.modelspec import modelspec_entries, other_sizes
from nadir.model.single_file.reading import load_single_file
from nadir.model.single_file.writing import export_single_file

SDXL_FACTOR = 0.13025


@pytest.fixture(scope="module")
def file(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("single") / "nadir.safetensors"
    export_single_file(checkpoint, file, precision="fp32")
    return file


def names_and_metadata(file: Path) -> tuple[list[str], dict[str, str]]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys()), opened.metadata()


def test_v_and_zero_terminal_snr_are_marked_at_the_top_level(file: Path) -> None:
    tensors = load_file(file)
    assert tensors["v_pred"].shape == (0,)
    assert tensors["ztsnr"].shape == (0,)
    # Either would win over the two above in ComfyUI.
    assert not [name for name in tensors if name.startswith("edm_")]


@pytest.mark.parametrize(
    ("noise", "markers", "key"),
    [
        ({"zero_terminal_snr": False}, {"v_pred"}, "v"),
        ({"prediction": "epsilon", "zero_terminal_snr": False}, set(), "epsilon"),
    ],
)
def test_markers_are_written_only_where_they_hold(
    tmp_path: Path, base: Path, noise: dict[str, Any], markers: set[str], key: str
) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", base, **noise)
    export_single_file(folder, tmp_path / "x.safetensors")
    names, metadata = names_and_metadata(tmp_path / "x.safetensors")
    assert {"v_pred", "ztsnr"} & set(names) == markers
    assert metadata["modelspec.predict_key"] == metadata["modelspec.prediction_type"] == key
    assert load_checkpoint_info(tmp_path / "x.safetensors").noise["prediction"] == key


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"prediction": "x0"}, "x0"),
        ({"sigma_shift": 2.0}, "shifted sigma"),
        ({"beta_end": 0.02}, "uses beta_end 0.02, which is 0.012 in SDXL"),
        ({"timesteps": 500}, "uses timesteps 500, which is 1000 in SDXL"),
    ],
)
def test_what_no_marker_can_say_is_not_exported(
    tmp_path: Path, base: Path, noise: dict[str, Any], message: str
) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", base, **noise)
    with pytest.raises(NadirError, match=message):
        export_single_file(folder, tmp_path / "x.safetensors")


def test_modelspec_has_what_every_image_model_must_say(file: Path) -> None:
    metadata = names_and_metadata(file)[1]
    assert metadata["modelspec.sai_model_spec"] == "1.0.1"
    assert metadata["modelspec.resolution"] == "64x64"
    assert metadata["modelspec.predict_key"] == "v"
    # SwarmUI would take it for v without zero terminal SNR, whatever the tensors say.
    assert "modelspec.prediction_type" not in metadata
    # Not of SDXL's sizes, so it does not claim to be one.
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base-resized"
    data = file.read_bytes()
    after_header = data[8 + int.from_bytes(data[:8], "little") :]
    assert metadata["modelspec.hash_sha256"] == f"0x{hashlib.sha256(after_header).hexdigest()}"


def test_modelspec_of_sdxls_own_sizes_names_its_architecture_and_how_to_ask() -> None:
    training = {
        "steps": 1700,
        "original_size": [256, 280],
        "caption": {"underscores": "space", "token_chunks": 3},
    }
    info = CheckpointInfo(NOISE, LatentScaling("sdxl", scaling_factor=SDXL_FACTOR), training)
    assert other_sizes(sdxl_configs()) is None
    entries = modelspec_entries(info, sdxl_configs(), mark="0123456789abcdef")
    assert entries["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    assert entries["modelspec.resolution"] == "1024x1024"
    assert entries["modelspec.title"] == "Nadir checkpoint 0123456789ab, 1,700 steps"
    for words in ("red hair", "225 tokens", "original size of 280x256", "not ddim_uniform, karras"):
        assert words in entries["modelspec.usage_hint"]


def test_two_trainings_never_share_a_title(file: Path, base: Path, tmp_path: Path) -> None:
    export_single_file(base, tmp_path / "base.safetensors", date="2026-11-23")
    metadata = [names_and_metadata(f)[1] for f in (file, tmp_path / "base.safetensors")]
    assert metadata[0]["modelspec.title"] != metadata[1]["modelspec.title"]
    assert metadata[1]["modelspec.date"] == "2026-11-23"


def test_equal_checkpoints_give_equal_bytes(checkpoint: Path, file: Path, tmp_path: Path) -> None:
    export_single_file(checkpoint, tmp_path / "again.safetensors", precision="fp32")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_diffusers_own_converters_find_every_weight(checkpoint: Path, file: Path) -> None:
    tensors = load_file(file)
    unet, vae, text = load_unet(checkpoint), load_vae(checkpoint), load_text(checkpoint)
    second = text.text_encoder_2
    converted = {
        "unet": (
            single_file_utils.convert_ldm_unet_checkpoint(dict(tensors), dict(unet.config)),
            unet.state_dict(),
        ),
        "vae": (
            single_file_utils.convert_ldm_vae_checkpoint(dict(tensors), dict(vae.config)),
            vae.state_dict(),
        ),
        "second": (
            single_file_utils.convert_open_clip_checkpoint(
                second, dict(tensors), prefix="conditioner.embedders.1.model."
            ),
            second.state_dict(),
        ),
    }
    for part, (theirs, ours) in converted.items():
        missing = set(ours) - set(theirs)
        assert not missing, (part, sorted(missing)[:3])
        for name, tensor in ours.items():
            torch.testing.assert_close(theirs[name], tensor, msg=f"{part}.{name}")


def test_the_folded_vae_decodes_and_encodes_as_a_fixed_factor_wants(base: Path) -> None:
    plain = load_vae(base).double()
    folded = load_vae(base).double()
    fold_scaling(folded, SCALING)
    normal = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    raw = SCALING.denormalise(normal)
    with torch.no_grad():
        expected = plain.decode(raw).sample
        actual = folded.decode(normal / SDXL_FACTOR).sample
        assert (actual - expected).abs().max() < 1e-12
        pixels = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
        before, after = plain.encode(pixels).latent_dist, folded.encode(pixels).latent_dist
    torch.testing.assert_close(
        after.mean * SDXL_FACTOR, SCALING.normalise(before.mean), rtol=1e-10, atol=1e-12
    )
    std = torch.tensor(SCALING.std, dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(after.std * SDXL_FACTOR, before.std / std, rtol=1e-10, atol=1e-12)


def test_sdxls_own_factor_leaves_the_vae_untouched(checkpoint: Path) -> None:
    vae = load_vae(checkpoint)
    fold_scaling(vae, LatentScaling("sdxl", scaling_factor=SDXL_FACTOR))
    before = load_vae(checkpoint).state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in vae.state_dict().items())


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-5), ("fp16", 0.03)])
def test_a_file_draws_what_its_checkpoint_draws(
    checkpoint: Path, tmp_path: Path, precision: str, tolerance: float
) -> None:
    export_single_file(checkpoint, tmp_path / "x.safetensors", precision=precision)
    expected, actual = (
        draw(load_pipeline(model)) for model in (checkpoint, tmp_path / "x.safetensors")
    )
    assert (actual - expected).abs().max() < tolerance


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_broken_weights_are_not_exported(checkpoint: Path, tmp_path: Path, part: str) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, folder)
    weights = next((folder / part).glob("*.safetensors"))
    state = load_file(weights)
    name = max(state, key=lambda name: state[name].numel())
    # Too large for half precision, and for nothing else.
    state[name].view(-1)[3] = 1e6
    weights.unlink()
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(NadirError, match="holds NaN or infinity in fp16") as caught:
        export_single_file(folder, tmp_path / "x.safetensors")
    assert "--precision fp32" in caught.value.fix
    assert not (tmp_path / "x.safetensors").exists()
    export_single_file(folder, tmp_path / "x.safetensors", precision="fp32")


def test_a_file_of_another_program_is_read_by_its_markers(file: Path, tmp_path: Path) -> None:
    """Without our own noise in the metadata, as ComfyUI or a merge would leave it."""
    metadata = names_and_metadata(file)[1]
    own = json.loads(metadata["nadir"])
    noise = own.pop("noise")
    foreign = tmp_path / "foreign.safetensors"
    save_file(load_file(file), foreign, {"nadir": json.dumps(own)})
    assert load_checkpoint_info(foreign).noise == noise
    assert load_single_file(foreign).scheduler.config.prediction_type == "v_prediction"
    tensors = {k: v for k, v in load_file(file).items() if k not in ("v_pred", "ztsnr")}
    save_file(tensors, foreign, {"nadir": json.dumps(own)})
    info = load_checkpoint_info(foreign)
    assert info.noise["prediction"] == "epsilon"
    assert not info.noise["zero_terminal_snr"]
    assert info.latent_scaling == LatentScaling("sdxl", scaling_factor=SDXL_FACTOR)


def test_a_file_whose_noise_settings_make_another_schedule_is_refused(
    file: Path, tmp_path: Path
) -> None:
    own = json.loads(names_and_metadata(file)[1]["nadir"])
    own["noise"]["beta_end"] = 0.013
    edited = tmp_path / "edited.safetensors"
    save_file(load_file(file), edited, {"nadir": json.dumps(own)})
    for read in (load_checkpoint_info, load_single_file):
        with pytest.raises(NadirError, match="but the model was trained on 1a87de119befb100"):
            read(edited)


def test_clips_own_vocabulary_comes_from_beside_the_file_or_is_asked_for(
    file: Path, base: Path, tmp_path: Path
) -> None:
    own = json.loads(names_and_metadata(file)[1]["nadir"])
    del own["tokenizers"]
    alone = tmp_path / "alone.safetensors"
    save_file(load_file(file), alone, {"nadir": json.dumps(own)})
    with pytest.raises(NadirError, match="holds no tokenizers") as caught:
        load_pipeline(alone)
    assert "beside the file" in caught.value.fix
    for name in ("tokenizer", "tokenizer_2"):
        (tmp_path / name).symlink_to(base / name)
    assert (draw(load_pipeline(alone)) - draw(load_pipeline(file))).abs().max() == 0
