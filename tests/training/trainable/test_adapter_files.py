"""The files of every kind of adapter mean what the merged model is, to those who read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.support.comfy_rules import apply
from tests.training.trainable.adapter_cases import KINDS, PARTS, moved, params_of, weights, write

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.model.sdxl.networks import load_unet
from nadir.training.trainable import make_trainable

RANK_1 = {"rank": 1, "alpha": 0.5}
PATTERNS = {"patterns": {"*.attn2.to_k": {"rank": 4, "alpha": 1.0}, "*.ff.*": RANK_1}}
LIMITED = {"rank": 4, "alpha": 0.1}
CASES = [
    *((kind, {}) for kind in KINDS),
    ("lora", PATTERNS),
    ("lokr", RANK_1),
    ("oft", LIMITED),
]


@pytest.fixture(scope="module")
def written(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Checkpoint and trainable of each case, made once."""
    made: dict[str, tuple[Any, Path]] = {}

    def get(kind: str, changes: dict[str, Any] | None = None) -> tuple[Any, Path]:
        key = kind + json.dumps(changes or {})
        if key not in made:
            trainable = moved(params_of(kind, **(changes or {})), base)
            folder = tmp_path_factory.mktemp("adapter") / "checkpoint"
            made[key] = (trainable, write(trainable, folder, base))
        return made[key]

    return get


@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_comfyui_makes_of_the_file_what_the_merged_model_is(
    written: Any, base: Path, kind: str, changes: dict[str, Any]
) -> None:
    _, folder = written(kind, changes)
    before, after = weights(base), weights(folder)
    config = read_json(base / "unet/config.json")
    adapter = load_file(folder / "adapter/adapter.safetensors")
    patched = apply(adapter, before, config)
    assert patched.pop("unused") == set()
    touched = dict.fromkeys(PARTS, 0)
    for part in PARTS:
        for name, old in before[part].items():
            new = after[part][name]
            if (part, name) in patched:
                assert torch.allclose(patched[part, name].float(), new, atol=1e-5, rtol=1e-5), name
                assert not torch.allclose(old, new, atol=1e-5), name
                touched[part] += 1
            else:
                assert torch.equal(old, new), name
    # Linear layers and convolutions, 1x1 among them; of the first text encoder one layer of two.
    assert touched == {"unet": 71, "text_encoder": 6, "text_encoder_2": 12}
    shapes = {new.ndim for (_, name), new in patched.items()}
    assert shapes == {2, 4}


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_in_training_answers_as_the_merged_model(
    written: Any, base: Path, kind: str
) -> None:
    trainable, folder = written(kind)
    torch.manual_seed(0)
    question = {
        "sample": torch.randn(2, 4, 8, 8),
        "timestep": torch.tensor([10, 999]),
        "encoder_hidden_states": torch.randn(2, 77, 16),
        "added_cond_kwargs": {"text_embeds": torch.randn(2, 8), "time_ids": torch.ones(2, 6)},
    }
    with torch.no_grad():
        old, new, live = (
            unet(**question).sample
            for unet in (load_unet(base), load_unet(folder), trainable.network)
        )
    assert torch.allclose(new, live, atol=1e-4)
    assert not torch.allclose(old, new, atol=1e-2)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_stock_diffusers_loads_its_form_with_rank_and_alpha(
    written: Any, base: Path, kind: str
) -> None:
    _, folder = written(kind, PATTERNS)
    pipeline = StableDiffusionXLPipeline.from_pretrained(base)
    pipeline.load_lora_weights(folder / "adapter")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    after = load_unet(folder).state_dict()
    for name, weight in pipeline.unet.state_dict().items():
        assert torch.allclose(weight, after[name], atol=1e-5), name
    for part in ("text_encoder", "text_encoder_2"):
        merged = {k.removeprefix("text_model."): v for k, v in weights(folder)[part].items()}
        for name, weight in getattr(pipeline, part).state_dict().items():
            own = merged[name.removeprefix("text_model.")]
            assert torch.allclose(weight, own, atol=1e-5), name


@pytest.mark.parametrize(("kind", "changes"), [("lokr", {}), ("lokr", RANK_1), ("loha", PATTERNS)])
def test_peft_loads_its_form(written: Any, base: Path, kind: str, changes: dict[str, Any]) -> None:
    _, folder = written(kind, changes)
    model = PeftModel.from_pretrained(load_unet(base), folder / "adapter/peft/unet")
    after = load_unet(folder).state_dict()
    for name, weight in model.merge_and_unload().state_dict().items():
        assert torch.allclose(weight, after[name], atol=1e-5), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["adapter", "adapter/adapter.safetensors"])
def test_training_goes_on_from_either_form(written: Any, base: Path, kind: str, form: str) -> None:
    trainable, folder = written(kind)
    again = make_trainable(params_of(kind, **{"from": str(folder / form)}), base)
    fresh = make_trainable(params_of(kind), base).weights()
    for name, weight in trainable.weights().items():
        found = again.weights()[name]
        if kind == "dora" and form != "adapter":  # its scale is relative to the base's norm there
            assert torch.allclose(weight, found, rtol=1e-6), name
        else:
            assert torch.equal(weight, found), name
        assert not torch.equal(fresh[name], found), name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 4}, "is [2, "),
        ({"alpha": 1.0}, "alpha of "),
        ({"kind": "loha"}, "has lora_down, lora_up there; loha of rank 2 has hada_w1_a"),
        ({"convolutions": False}, "which params.yaml gives no adapter"),
        ({"patterns": {"mid": {"rank": 0, "alpha": 1.0}}}, "which params.yaml gives no adapter"),
    ],
)
def test_an_adapter_of_another_make_is_one_clear_error(
    written: Any, base: Path, changes: dict[str, Any], said: str
) -> None:
    _, folder = written("lora")
    changes = {"kind": "lora", "from": str(folder / "adapter/adapter.safetensors")} | changes
    with pytest.raises(NadirError, match="the adapter does not fit") as caught:
        make_trainable(params_of(**changes), base)
    assert said in caught.value.what


def test_what_is_no_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors", encoding="utf-8")
    for name, said in (
        ("other.safetensors", "not an adapter in kohya's names or diffusers' form"),
        ("text.safetensors", "not a safetensors file"),
        ("nothing", "there is no adapter here"),
    ):
        with pytest.raises(NadirError, match=said):
            make_trainable(params_of("lora", **{"from": str(tmp_path / name)}), base)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_says_v_and_zero_terminal_snr(written: Any, kind: str) -> None:
    _, folder = written(kind)
    with safe_open(folder / "adapter/adapter.safetensors", framework="pt") as opened:
        said = opened.metadata()
    assert said["ss_v_parameterization"] == said["ss_zero_terminal_snr"] == "True"
    assert said["ss_base_model_version"] == "sdxl_base_v1-0"
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("2", "3")
    assert said["ss_network_module"] == ("networks.lora" if kind == "lora" else "lycoris.kohya")
    assert said["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert said["modelspec.prediction_type"] == "v"
    assert said["ss_steps"] == "3"


def test_equal_adapters_are_equal_bytes(written: Any, base: Path, tmp_path: Path) -> None:
    trainable, folder = written("dora")
    again = write(trainable, tmp_path / "again", base)
    for path in (folder / "adapter").rglob("*"):
        assert path.read_bytes() == (again / "adapter" / path.name).read_bytes()
