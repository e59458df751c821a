"""What each program reads of a file's header, for every noise process and every kind of file.

The rules are written down here anew from the programs' sources, so that a change of what Nadir
writes, or of what it believes of them, shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from safetensors import safe_open
from tests.model.conftest import write_checkpoint

from nadir.ground.files import read_json
from nadir.model.adapter_files.exporting import export_adapter
from nadir.model.adapter_files.metadata import adapter_metadata
from nadir.model.adapter_files.places import KOHYA_FILE
from nadir.model.adapter_files.writing import ADAPTER_FOLDER, AdapterFacts
from nadir.model.single_file.a1111 import a1111_yaml
from nadir.model.single_file.description import describe
from nadir.model.single_file.modelspec import Words
from nadir.model.single_file.safetensors_writer import write_safetensors
from nadir.model.single_file.writing import export_single_file

NOISES: dict[str, dict[str, Any]] = {
    "epsilon": {"prediction": "epsilon", "zero_terminal_snr": False},
    "v": {"prediction": "v", "zero_terminal_snr": False},
    "v_zero": {"prediction": "v", "zero_terminal_snr": True},
}
ADAPTERS = ("lora", "dora", "lokr", "loha", "oft")
WORDS = Words(author="somebody", licence="openrail++", thumbnail="data:image/jpeg;base64,AA==")


@dataclass(frozen=True)
class Header:
    """What a program sees before it loads a weight."""

    names: set[str]
    metadata: dict[str, str]
    beside: dict[str, Any]


def header(file: Path) -> Header:
    with safe_open(file, framework="pt") as opened:
        names, metadata = set(opened.keys()), opened.metadata()
    place = file.with_suffix(".yaml")
    return Header(names, metadata, YAML(typ="safe").load(place) if place.is_file() else {})


def comfy(seen: Header) -> tuple[str, bool]:
    """supported_models.py, SDXL.model_type."""
    if {"edm_mean", "edm_std"} <= seen.names:
        return "edm", False
    if "edm_vpred.sigma_max" in seen.names:
        return "v of edm", False
    if "v_pred" in seen.names:
        return "v", "ztsnr" in seen.names
    return "epsilon", False


def swarm(seen: Header) -> tuple[str, bool]:
    """What its node ModelSamplingDiscrete puts over ComfyUI's choice."""
    said = seen.metadata.get("modelspec.prediction_type", "")
    return (said.removesuffix("-zsnr"), "zsnr" in said) if said else comfy(seen)


def forge(seen: Header) -> tuple[str, bool]:
    """backend/loader.py and huggingface_guess."""
    v = "v_pred" in seen.names or says_v(seen)
    return "v" if v else "epsilon", "ztsnr" in seen.names


def a1111_dev(seen: Header) -> tuple[str, bool]:
    """sd_models_config.py of the branch `dev`."""
    v = says_v(seen) if seen.beside else "v_pred" in seen.names
    return "v" if v else "epsilon", "ztsnr" in seen.names


def a1111_release(seen: Header) -> tuple[str, bool]:
    """sd_models_xl.py of 1.10, with its noise schedule set to Zero Terminal SNR for v."""
    return ("v", True) if says_v(seen) else ("epsilon", False)


def says_v(seen: Header) -> bool:
    if not seen.beside:
        return False
    denoiser = seen.beside["model"]["params"]["denoiser_config"]["params"]
    return bool(denoiser["scaling_config"]["target"].endswith(".VScaling"))


def nothing(_: Header) -> tuple[str, bool]:
    """InvokeAI's configs/main.py, diffusers' single_file_utils.py: of files always epsilon."""
    return "epsilon", False


PROGRAMS: dict[str, Callable[[Header], tuple[str, bool]]] = {
    "ComfyUI": comfy,
    "SwarmUI": swarm,
    "reForge": comfy,
    "Forge, Forge Neo": forge,
    "A1111 (dev)": a1111_dev,
    "InvokeAI": nothing,
    "diffusers": nothing,
}
WANT_A_FOLDER = {"InvokeAI", "diffusers"}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: write_checkpoint(folder / name, base, **noise) for name, noise in NOISES.items()}


def exported(kind: str, folder: Path, file: Path, noise: dict[str, Any]) -> Path:
    if kind == "full":
        export_single_file(folder, file, date="2026-11-28", words=WORDS)
        return file
    facts = AdapterFacts(kind, 4, 2.0, False, {}, noise, {"steps": 7, "fingerprint": "f" * 64})
    (folder / ADAPTER_FOLDER).mkdir(exist_ok=True)
    write_safetensors(
        folder / ADAPTER_FOLDER / KOHYA_FILE,
        {"lora_unet_mid_block_1_to_q.lora_down.weight": torch.ones(4, 8)},
        adapter_metadata(facts),
    )
    export_adapter(folder, file, date="2026-11-28", words=WORDS)
    return file


@pytest.mark.parametrize("kind", ["full", *ADAPTERS])
@pytest.mark.parametrize("name", NOISES)
def test_the_header_of_every_file_for_every_program(
    checkpoints: Mapping[str, Path], tmp_path: Path, kind: str, name: str
) -> None:
    noise, folder = NOISES[name], checkpoints[name]
    file = exported(kind, folder, tmp_path / "model.safetensors", noise)
    seen, wanted = header(file), (noise["prediction"], noise["zero_terminal_snr"])
    check_modelspec(file, seen, kind=kind)
    if kind != "full":
        # Programs sample an adapter by its base's process; trainers go by kohya's entries.
        assert not {"v_pred", "ztsnr"} & seen.names
        assert seen.metadata["ss_v_parameterization"] == str(wanted[0] == "v")
        assert seen.metadata["ss_zero_terminal_snr"] == str(wanted[1])
        assert seen.metadata["modelspec.prediction_type"] == wanted[0]
        return
    told = {t.program: t for t in describe(file).treatments}
    for program, rule in PROGRAMS.items():
        found = told[program]
        assert (found.prediction, found.zero_terminal) == rule(seen), program
        right = wanted == ("epsilon", False) or program not in WANT_A_FOLDER
        assert (rule(seen) == wanted) == right, program
        assert right or "folder" in found.remedy
    assert read_json(folder / "scheduler/scheduler_config.json")["prediction_type"] == (
        "epsilon" if wanted[0] == "epsilon" else "v_prediction"
    )


def check_modelspec(file: Path, seen: Header, *, kind: str) -> None:
    """ModelSpec 1.0.1: what an image model must, should and can say."""
    said = {
        key.removeprefix("modelspec."): value
        for key, value in seen.metadata.items()
        if key.startswith("modelspec.")
    }
    assert said["sai_model_spec"] == "1.0.1"
    architecture = "stable-diffusion-xl-v1-base"
    # Not of SDXL's sizes, so it does not claim to be one.
    assert said["architecture"] == architecture + ("-resized" if kind == "full" else "/lora")
    assert said["implementation"]
    assert said["title"].startswith("Nadir ")
    assert said["resolution"] == "64x64"
    assert (said["author"], said["license"], said["date"]) == (
        "somebody",
        "openrail++",
        "2026-11-28",
    )
    assert "trained with Nadir" in said["description"].replace("fine-tuned", "trained")
    assert said["usage_hint"]
    assert said["tags"]
    assert said["thumbnail"] == WORDS.thumbnail
    data = file.read_bytes()
    after = data[8 + int.from_bytes(data[:8], "little") :]
    assert said["hash_sha256"] == f"0x{hashlib.sha256(after).hexdigest()}"


@pytest.mark.parametrize("name", ["v", "v_zero"])
def test_with_a_yaml_beside_it_releases_of_a1111_sample_v(
    checkpoints: Mapping[str, Path], tmp_path: Path, name: str
) -> None:
    file = exported("full", checkpoints[name], tmp_path / "model.safetensors", NOISES[name])
    old = {t.program: t for t in describe(file).treatments}["A1111 1.10"]
    assert (old.prediction, a1111_release(header(file))[0]) == ("epsilon", "epsilon")
    assert "`nadir export --yaml`" in old.remedy
    file.with_suffix(".yaml").write_text(a1111_yaml(), encoding="utf-8")
    old = {t.program: t for t in describe(file).treatments}["A1111 1.10"]
    assert (old.prediction, a1111_release(header(file))[0]) == ("v", "v")
    assert "noise schedule for sampling to Zero Terminal SNR" in old.remedy
    for program in ("Forge, Forge Neo", "A1111 (dev)"):
        assert PROGRAMS[program](header(file))[0] == "v"


def test_the_yaml_describes_an_sdxl() -> None:
    """Facts of SDXL in the names of generative-models' classes."""
    engine = YAML(typ="safe").load(a1111_yaml())["model"]["params"]
    unet = engine["network_config"]["params"]
    sizes = {
        "adm_in_channels": 2816,
        "model_channels": 320,
        "attention_resolutions": [4, 2],
        "channel_mult": [1, 2, 4],
        "num_head_channels": 64,
        "transformer_depth": [1, 2, 10],
        "context_dim": 2048,
    }
    assert {name: unet[name] for name in sizes} == sizes
    assert engine["scale_factor"] == 0.13025
    keys = [entry["input_key"] for entry in engine["conditioner_config"]["params"]["emb_models"]]
    assert keys[:2] == ["txt", "txt"]
    assert engine["first_stage_config"]["params"]["ddconfig"]["ch_mult"] == [1, 2, 4, 4]
    assert json.loads(json.dumps(engine)) == engine
