from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.model.conftest import SCALING, write_checkpoint
from tests.model.test_checkpoint import draw

from nadir.ground.errors import NadirError
from nadir.model.checkpoint import LatentScaling, load_checkpoint_info, load_pipeline
from nadir.model.folding import fold_scaling
from nadir.model.sdxl import load_text, load_unet, load_vae
from nadir.model.single_file import export_single_file
from nadir.model.single_file_import import load_single_file

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


def test_modelspec_names_the_architecture(file: Path) -> None:
    metadata = names_and_metadata(file)[1]
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    assert metadata["modelspec.prediction_type"] == "v"


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
    own["noise"]["zero_terminal_snr"] = False
    edited = tmp_path / "edited.safetensors"
    save_file(load_file(file), edited, {"nadir": json.dumps(own)})
    for read in (load_checkpoint_info, load_single_file):
        with pytest.raises(NadirError, match="but the model was trained on 1a87de119befb100"):
            read(edited)


def test_a_file_that_is_no_sdxl_is_refused(tmp_path: Path) -> None:
    save_file({"lora_unet.weight": torch.zeros(2)}, tmp_path / "lora.safetensors")
    with pytest.raises(NadirError, match="no SDXL checkpoint"):
        load_pipeline(tmp_path / "lora.safetensors")


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half.safetensors").write_bytes(b"\xff\xff\xff\x00 not safetensors")
    with pytest.raises(NadirError, match="not a readable safetensors file"):
        load_pipeline(tmp_path / "half.safetensors")


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
