from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from nadir.config.base_model import BaseModelParams, TinyParams
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json, write_json
from nadir.model.fetch import fetch_base
from nadir.model.load import load_pipeline
from nadir.model.sdxl.hashing import encoder_hash, unet_hash
from nadir.model.sdxl.networks import load_unet, load_vae
from nadir.model.single_file.writing import export_single_file


@pytest.fixture
def fetch(tmp_path: Path, small_tiny: TinyParams) -> Any:
    def run(source: Path | str, **changes: Any) -> tuple[Path, dict[str, Any]]:
        values = {"source": str(source), "revision": None, "variant": None, "tiny": small_tiny}
        params = BaseModelParams.model_construct(**values | changes)
        return tmp_path / "base", fetch_base(params, tmp_path / "base")

    return run


def with_variant(base: Path, folder: Path, name: str) -> Path:
    """A copy whose weight files carry a variant in their names, as on the hub."""
    shutil.copytree(base, folder)
    for path in list(folder.rglob("*.safetensors")):
        path.rename(path.with_name(path.name.replace(".safetensors", f".{name}.safetensors")))
    return folder


def test_the_tiny_one_is_made_and_described(fetch: Any, base: Path) -> None:
    folder, facts = fetch("tiny")
    assert read_json(folder / "base.json") == facts
    assert facts["source"] == "tiny"
    assert facts["revision"] is None
    assert facts["unet_hash"] == unet_hash(load_unet(base))
    assert facts["vae_hash"] == encoder_hash(load_vae(base))
    assert facts["parameters"]["unet"] == sum(p.numel() for p in load_unet(base).parameters())
    assert set(facts["parameters"]) == {"unet", "vae", "text_encoder", "text_encoder_2"}


def test_a_folder_is_copied_and_its_place_forgotten(fetch: Any, base: Path) -> None:
    folder, facts = fetch(base)
    assert facts["source"] == "folder"
    assert unet_hash(load_unet(folder)) == unet_hash(load_unet(base))
    # A copy: nothing that happens to the base may reach the original.
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert not (folder / weights).samefile(base / weights)
    texts = [path.read_text() for path in folder.rglob("*.json")]
    assert not [text for text in texts if str(base.parent) in text]
    assert (folder / weights).stat().st_mode & 0o777 == 0o644


def test_a_variant_gets_plain_names(fetch: Any, base: Path, tmp_path: Path) -> None:
    source = with_variant(base, tmp_path / "source", "fp16")
    folder, facts = fetch(source, variant="fp16")
    assert facts["unet_hash"] == unet_hash(load_unet(base))
    assert not list(folder.rglob("*fp16*"))


def test_a_variant_that_is_not_there_is_told_with_what_is(
    fetch: Any, base: Path, tmp_path: Path
) -> None:
    source = with_variant(base, tmp_path / "source", "fp16")
    with pytest.raises(NadirError, match="no plain safetensors") as caught:
        fetch(source)
    assert "diffusion_pytorch_model.fp16.safetensors" in caught.value.fix


def test_a_model_in_several_files_is_copied_whole(fetch: Any, base: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(base, source)
    load_unet(base).save_pretrained(source / "unet", max_shard_size="1MB")
    (source / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert len(list((source / "unet").glob("*-of-*.safetensors"))) > 1
    assert fetch(source)[1]["unet_hash"] == unet_hash(load_unet(base))


def test_a_pickle_is_refused_as_file_and_in_a_folder(
    fetch: Any, base: Path, tmp_path: Path
) -> None:
    torch.save({}, tmp_path / "model.ckpt")
    with pytest.raises(NadirError, match=r"model\.ckpt is a pickle, which can run any program"):
        fetch(tmp_path / "model.ckpt")
    source = tmp_path / "source"
    shutil.copytree(base, source)
    (source / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, source / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(NadirError, match="no plain safetensors") as caught:
        fetch(source)
    assert "is a pickle and is not read" in caught.value.fix


def test_a_single_file_becomes_a_folder(fetch: Any, base: Path, tmp_path: Path) -> None:
    export_single_file(base, tmp_path / "model.safetensors", precision="fp32")
    folder, facts = fetch(tmp_path / "model.safetensors")
    assert facts["source"] == "file"
    assert facts["unet_hash"] == unet_hash(load_unet(base))
    assert load_vae(folder).config.scaling_factor == 0.13025


@pytest.mark.parametrize("damage", ["not SDXL", "a part missing", "no index"])
def test_what_is_no_whole_sdxl_is_refused(
    fetch: Any, base: Path, tmp_path: Path, damage: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(base, source)
    index = source / "model_index.json"
    if damage == "not SDXL":
        write_json(index, read_json(index) | {"_class_name": "StableDiffusionPipeline"})
    elif damage == "a part missing":
        shutil.rmtree(source / "text_encoder_2")
    else:
        index.unlink()
    with pytest.raises(NadirError, match=r"not a whole SDXL|no diffusers model"):
        fetch(source)
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize(
    "kept", [(), ("vocab.json",), ("merges.txt",), ("tokenizer_config.json",)], ids=str
)
@pytest.mark.parametrize("part", ["tokenizer", "tokenizer_2"])
def test_a_folder_without_a_vocabulary_is_refused_and_not_drawn_from(
    fetch: Any, base: Path, tmp_path: Path, part: str, kept: tuple[str, ...]
) -> None:
    """transformers makes a tokenizer of it to which all tags are the same."""
    source = tmp_path / "source"
    shutil.copytree(base, source)
    for path in list((source / part).iterdir()):
        if path.name not in kept:
            path.unlink()
    with pytest.raises(NadirError, match=rf"not a whole SDXL \(it lacks {part}\)"):
        fetch(source)
    with pytest.raises(NadirError, match=rf"its {part} has no tokenizer.json, and no vocab.json"):
        load_pipeline(source)


def test_a_vocabulary_larger_than_the_text_encoders_is_refused(
    fetch: Any, base: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(base, source)
    tokenizer = CLIPTokenizer.from_pretrained(source / "tokenizer_2")
    tokenizer.add_tokens([f"word{number}" for number in range(60_000)])
    tokenizer.save_pretrained(source / "tokenizer_2")
    with pytest.raises(
        NadirError, match=r"its tokenizer_2 has [\d,]+ tokens, and its text_encoder_2"
    ):
        fetch(source)


@pytest.mark.parametrize("index", ["tokenizer", "text_encoder_2", "scheduler", "unet"])
def test_a_part_that_the_index_does_not_name_is_missing(
    fetch: Any, base: Path, tmp_path: Path, index: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(base, source)
    whole = read_json(source / "model_index.json")
    write_json(source / "model_index.json", whole | {index: None})
    with pytest.raises(NadirError, match=rf"it lacks {index} in model_index\.json"):
        fetch(source)


def split(source: Path, places: object) -> None:
    """Make the first text encoder one whose index names these files."""
    (source / "text_encoder/model.safetensors").unlink()
    write_json(source / "text_encoder/model.safetensors.index.json", {"weight_map": places})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a list is no configuration": (
        lambda s: (s / "vae/config.json").write_text("[]"),
        r"vae: config\.json holds no JSON object",
    ),
    "nor is it an index": (
        lambda s: (s / "model_index.json").write_text("[]"),
        r"source: model_index\.json holds no JSON object",
    ),
    "nor a scheduler": (
        lambda s: (s / "scheduler/scheduler_config.json").write_text("3"),
        r"scheduler_config\.json holds no JSON object",
    ),
    "a number in words": (
        lambda s: (s / "scheduler/scheduler_config.json").write_text('{"beta_start": "x"}'),
        r"scheduler_config\.json: a number of the scheduler is not one",
    ),
    "betas in words": (
        lambda s: (s / "scheduler/scheduler_config.json").write_text('{"trained_betas": ["x"]}'),
        r"scheduler_config\.json: a number of the scheduler is not one",
    ),
    "half a tokenizer": (
        lambda s: cut(s / "tokenizer/tokenizer.json"),
        r"source/tokenizer/tokenizer\.json: not valid JSON",
    ),
    "half a text encoder": (
        lambda s: cut(s / "text_encoder/model.safetensors"),
        r"source: .*text_encoder/model\.safetensors is damaged",
    ),
    "half a VAE": (
        lambda s: cut(s / "vae/diffusion_pytorch_model.safetensors"),
        r"source: .*vae/diffusion_pytorch_model\.safetensors is damaged",
    ),
    "no places": (lambda s: split(s, {}), "has no weight_map"),
    "places in a list": (lambda s: split(s, ["a"]), "has no weight_map"),
    "a missing piece": (lambda s: split(s, {"w": "a.safetensors"}), "a.safetensors, which is miss"),
    "a piece elsewhere": (
        lambda s: split(s, {"w": "../unet/diffusion_pytorch_model.safetensors"}),
        "is not a safetensors file beside it",
    ),
    "a piece anywhere": (
        lambda s: split(s, {"w": str(s / "unet/diffusion_pytorch_model.safetensors")}),
        "is not a safetensors file beside it",
    ),
    "a pickle": (lambda s: split(s, {"w": "config.json"}), "is not a safetensors file beside it"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_folder_is_told_by_its_name(
    fetch: Any, base: Path, tmp_path: Path, damage: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(base, source)
    do, message = DAMAGES[damage]
    do(source)
    with pytest.raises(NadirError, match=message):
        fetch(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_an_inpainting_unet_is_refused(fetch: Any, base: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(base, source)
    config, weights = (source / "unet" / name for name in ("config.json", "w"))
    weights = source / "unet" / "diffusion_pytorch_model.safetensors"
    write_json(config, read_json(config) | {"in_channels": 9})
    state = load_file(weights)
    state["conv_in.weight"] = torch.zeros(state["conv_in.weight"].shape[0], 9, 3, 3)
    weights.unlink()
    save_file(state, weights)
    with pytest.raises(NadirError, match="an inpainting model: its U-Net takes 9 channels"):
        fetch(source)


def change_weights(part: Path, change: Any) -> None:
    """Rewrite the weights of a copied part."""
    weights = next(part.glob("*.safetensors"))
    state = load_file(weights)
    change(state, max(state, key=lambda name: state[name].numel()))
    weights.unlink()
    save_file(state, weights, {"format": "pt"})


def put_nan(state: dict[str, torch.Tensor], name: str) -> None:
    state[name].view(-1)[-1] = float("nan")


def take_away(state: dict[str, torch.Tensor], name: str) -> None:
    del state[name]


def put_scale(state: dict[str, torch.Tensor], name: str) -> None:
    state[f"{name.removesuffix('.weight')}.scale_weight"] = torch.tensor(1e-4)


def put_unknown(state: dict[str, torch.Tensor], name: str) -> None:
    state[f"{name.removesuffix('.weight')}.svd_up"] = torch.ones(3)


def put_blocks(state: dict[str, torch.Tensor], name: str) -> None:
    state[f"{name}.absmax"] = torch.ones(3)


def make_integers(state: dict[str, torch.Tensor], name: str) -> None:
    state[name] = torch.zeros(state[name].shape, dtype=torch.int8)


def cut_off(state: dict[str, torch.Tensor], name: str) -> None:
    state[name] = state[name][:-1].clone()


FAULTS = [
    (put_nan, "holds NaN or infinity"),
    (take_away, r"lacks .* \(1 weights in all\)"),
    (put_scale, "scaled fp8"),
    (put_unknown, "a tensor that SDXL does not have"),
    (put_blocks, "bitsandbytes quantisation"),
    (make_integers, "I8 quantisation"),
    (cut_off, "cannot be loaded"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_broken_and_quantised_weights_of_a_folder_are_refused_by_name(
    fetch: Any, base: Path, tmp_path: Path, part: str, change: Any, message: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(base, source)
    change_weights(source / part, change)
    with pytest.raises(NadirError, match=rf"cannot be used: .*{part}.*{message}"):
        fetch(source)
    assert not (tmp_path / "base").exists()


FOREIGN = [
    ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler"),
    ({"_class_name": "EDMDPMSolverMultistepScheduler"}, "EDMDPMSolverMultistepScheduler"),
    ({"prediction_type": "v_prediction", "sigma_max": 120.0}, "sigma_max"),
    ({"beta_schedule": "squaredcos_cap_v2"}, "squaredcos_cap_v2 betas"),
]


@pytest.mark.parametrize(("changes", "name"), FOREIGN)
def test_a_folder_of_a_foreign_noise_process_is_refused(
    fetch: Any, base: Path, tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(base, source)
    config = source / "scheduler/scheduler_config.json"
    write_json(config, read_json(config) | changes)
    with pytest.raises(NadirError, match=rf"the scheduler asks for .*{name}"):
        fetch(source)


def test_the_noise_process_of_the_base_is_told(fetch: Any, base: Path, tmp_path: Path) -> None:
    assert fetch(base)[1]["noise"]["prediction"] == "epsilon"
    source = tmp_path / "source"
    shutil.copytree(base, source)
    config = source / "scheduler/scheduler_config.json"
    told = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    write_json(config, read_json(config) | told)
    noise = fetch(source)[1]["noise"]
    assert (noise["prediction"], noise["zero_terminal_snr"]) == ("v", True)


@pytest.mark.parametrize("source", ["no/such/folder", "./nowhere", "model.safetensors"])
def test_a_source_that_is_nowhere_is_told(fetch: Any, source: str) -> None:
    with pytest.raises(NadirError, match=f"there is no model at {source}"):
        fetch(source)


def test_a_hub_model_must_be_pinned(fetch: Any) -> None:
    with pytest.raises(NadirError, match="owner/name is not pinned to a commit") as caught:
        fetch("owner/name")
    assert "full commit id" in caught.value.fix


def test_a_hub_model_out_of_reach_says_what_to_do_instead(fetch: Any) -> None:
    with pytest.raises(NadirError, match="owner/name cannot be downloaded") as caught:
        fetch("owner/name", revision="0" * 40)
    assert "set base_model.source to its folder" in caught.value.fix


def test_an_old_base_is_replaced_only_by_a_whole_one(
    fetch: Any, base: Path, tmp_path: Path
) -> None:
    folder, _ = fetch(base)
    (folder / "left over").touch()
    with pytest.raises(NadirError):
        fetch(tmp_path / "nowhere.ckpt")
    assert (folder / "left over").exists()
    fetch(base)
    assert not (folder / "left over").exists()
    assert json.loads((folder / "base.json").read_text())["source"] == "folder"
