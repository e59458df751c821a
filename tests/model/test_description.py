"""What a file is, and what each program makes of it, by the rules of the programs' sources."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.model.conftest import write_checkpoint

from nadir.ground.errors import NadirError
from nadir.model.adapter_files.metadata import adapter_metadata
from nadir.model.adapter_files.reading import read_adapter
from nadir.model.adapter_files.writing import AdapterFacts
from nadir.model.recognition.programs import file_treatments
from nadir.model.single_file.description import describe
from nadir.model.single_file.marks import METADATA_KEY
from nadir.model.single_file.writing import export_single_file

EPSILON = {"prediction": "epsilon", "zero_terminal_snr": False}
V = {"prediction": "v", "zero_terminal_snr": False}
V_ZERO = {"prediction": "v", "zero_terminal_snr": True}
SPEC = "modelspec.prediction_type"
FIRST = "model.diffusion_model.input_blocks.0.0.weight"
BY_MARKS = ("ComfyUI", "SwarmUI", "reForge", "Forge, Forge Neo", "A1111 (dev)")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[str, Path]:
    """An exported file of each noise process."""
    folder = tmp_path_factory.mktemp("files")
    for name, noise in (("epsilon", EPSILON), ("v", V), ("v_zero", V_ZERO)):
        made = write_checkpoint(folder / name, base, **noise)
        export_single_file(made, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in ("epsilon", "v", "v_zero")}


@pytest.mark.parametrize(("name", "noise"), [("epsilon", EPSILON), ("v", V), ("v_zero", V_ZERO)])
def test_every_program_that_goes_by_marks_samples_an_exported_file_rightly(
    files: dict[str, Path], name: str, noise: dict[str, Any]
) -> None:
    found = describe(files[name])
    assert found.what == "an SDXL"
    assert found.noise is not None
    assert noise.items() <= found.noise.items()
    # Of a file of SDXL's sizes the table would be all.
    assert found.said["opened by"].startswith("Nadir alone, since unet has block_out_channels 16")
    right = {t.program for t in found.treatments if t.is_right(found.noise)}
    assert right >= set(BY_MARKS)
    wrong = {t.program for t in found.treatments} - right
    assert wrong == (set() if name == "epsilon" else {"A1111 1.10", "InvokeAI", "diffusers"})
    assert all(t.remedy for t in found.treatments if t.program in wrong)


@pytest.mark.parametrize(
    ("names", "metadata", "program", "expected"),
    [
        (["v_pred"], {}, "ComfyUI", ("v", False)),
        (["ztsnr"], {}, "ComfyUI", ("epsilon", False)),
        (["v_pred", "ztsnr", "edm_mean", "edm_std"], {}, "ComfyUI", ("EDM", False)),
        (["v_pred", "ztsnr", "edm_vpred.sigma_max"], {}, "reForge", ("v of EDM", False)),
        ([], {SPEC: "v"}, "ComfyUI", ("epsilon", False)),
        (["v_pred", "ztsnr"], {SPEC: "v"}, "SwarmUI", ("v", False)),
        (["v_pred", "ztsnr"], {SPEC: "v-zsnr"}, "SwarmUI", ("v", True)),
        (["v_pred", "ztsnr"], {"modelspec.predict_key": "v"}, "SwarmUI", ("v", True)),
        (["v_pred", "ztsnr"], {"prediction_type": "epsilon"}, "SwarmUI", ("epsilon", False)),
        (["v_pred", "ztsnr"], {}, "A1111 (dev)", ("v", True)),
        (["v_pred", "ztsnr"], {}, "InvokeAI", ("epsilon", False)),
        (["v_pred", "ztsnr"], {}, "diffusers", ("epsilon", False)),
    ],
)
def test_the_rules_of_the_programs(
    names: list[str], metadata: dict[str, str], program: str, expected: tuple[str, bool]
) -> None:
    (found,) = [t for t in file_treatments(names, metadata) if t.program == program]
    assert (found.prediction, found.zero_terminal) == expected


@pytest.mark.parametrize("kind", ["lora", "dora", "lokr", "loha", "oft"])
@pytest.mark.parametrize("noise", [EPSILON, V, V_ZERO])
def test_an_adapter_says_what_its_base_has_to_be(
    tmp_path: Path, kind: str, noise: dict[str, Any]
) -> None:
    facts = AdapterFacts(kind, 4, 2.0, False, {}, noise, {})
    file = tmp_path / "a.safetensors"
    tensors = {"lora_unet_mid_block_1_to_q.lora_down.weight": torch.zeros(4, 8)}
    save_file(tensors, file, metadata=adapter_metadata(facts))
    found = describe(file)
    assert found.what.startswith("a LoRA")
    assert found.noise is None
    assert not found.treatments
    assert found.said["rank"] == "4"
    assert f"metadata ss_v_parameterization: {noise['prediction'] == 'v'}" in found.marks
    assert f"metadata ss_zero_terminal_snr: {noise['zero_terminal_snr']}" in found.marks
    process = noise["prediction"] + ", zero terminal SNR" * noise["zero_terminal_snr"]
    assert found.said["made for"].startswith(f"a base of {process}, by whose marks")


def test_marks_that_contradict_each_other_are_told_with_what_programs_do(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    file = tmp_path / "x.safetensors"
    with safe_open(files["epsilon"], framework="pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(files["epsilon"]) | {"v_pred": torch.zeros(0)}
    save_file(tensors, file, metadata=metadata)
    found = describe(file)
    assert found.noise is None
    assert "the tensor `v_pred` says v-prediction, but" in found.fault
    assert {t.program: t.prediction for t in found.treatments}["ComfyUI"] == "v"


def test_a_folder_is_sampled_as_its_scheduler_says(tmp_path: Path, base: Path) -> None:
    found = describe(write_checkpoint(tmp_path / "checkpoint", base, **V_ZERO))
    assert found.noise is not None
    assert V_ZERO.items() <= found.noise.items()
    assert {t.program for t in found.treatments if t.is_right(found.noise)} == {
        "diffusers",
        "InvokeAI",
    }


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not tensors at all"])
def test_what_is_no_model_is_one_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(NadirError, match="not a readable safetensors file"):
        describe(file)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NadirError, match="it is not a regular file"):
        describe(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("tensors", "metadata", "what", "fault"),
    [
        ({FIRST: torch.zeros(())}, {}, "a model without SDXL's U-Net", ""),
        ({FIRST: torch.zeros(4), "x.attn2.to_k.weight": torch.zeros(3)}, {}, "a model without", ""),
        ({FIRST: torch.zeros(8, 4, 3, 3)}, {METADATA_KEY: "[" * 9000}, "an SDXL", "are damaged"),
        ({"double_blocks.0.processor.proj_lora1.up.weight": torch.zeros(1)}, {}, "a LoRA", ""),
    ],
)
def test_headers_of_odd_files(
    tmp_path: Path, tensors: dict[str, Any], metadata: dict[str, str], what: str, fault: str
) -> None:
    save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
    found = describe(tmp_path / "x.safetensors")
    assert found.what.startswith(what)
    assert fault in found.fault


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("scheduler/scheduler_config.json", "[]", "not a JSON object"),
        ("scheduler/scheduler_config.json", "[" * 9000, "not valid JSON"),
        ("scheduler/scheduler_config.json", '{"prediction_type": ["v"]}', "asks for"),
        ("scheduler/scheduler_config.json", '{"_class_name": {}}', "asks for"),
        ("nadir.json", "[]", "not a JSON object"),
        ("nadir.json", '{"format": 2}', "is damaged, or not a model's"),
        ("nadir.json", '{"format": 2, "noise": []}', "is damaged, or not a model's"),
        ("nadir.json", None, "no VAE"),
        ("vae/config.json", '{"scaling_factor": null}', "is damaged, or not a model's"),
    ],
)
def test_a_damaged_folder_is_one_error(
    tmp_path: Path, base: Path, name: str, text: str | None, match: str
) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", base)
    (folder / name).unlink()
    if name != "nadir.json":
        (folder / "nadir.json").unlink()
    if text is None:
        (folder / "vae/config.json").unlink()
    else:
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(NadirError, match=match):
        describe(folder)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 9000])
def test_damaged_settings_of_an_adapter_are_one_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.safetensors"
    tensors = {"unet.mid_block.lora_A.weight": torch.zeros(4, 8)}
    save_file(tensors, file, metadata={"lora_adapter_metadata": text})
    with pytest.raises(NadirError, match="`lora_adapter_metadata` of the file are damaged"):
        read_adapter(file, ["mid_block"], {})
