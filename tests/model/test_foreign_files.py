"""Single files of other programs: read by the process they mean, or refused by what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.model.conftest import NOISE

from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.model.load import load_checkpoint_info
from nadir.model.single_file.reading import load_single_file
from nadir.model.single_file.writing import export_single_file

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT, TEXT_2 = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
LAYER = f"{UNET}input_blocks.3.1.transformer_blocks.0.attn2.to_k"
EMPTY = torch.zeros(0)

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def file(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("foreign") / "nadir.safetensors"
    export_single_file(checkpoint, file, precision="fp32")
    return file


@pytest.fixture(scope="module")
def tensors(file: Path) -> dict[str, torch.Tensor]:
    """Weights alone, without markers."""
    return {name: t for name, t in load_file(file).items() if name not in ("v_pred", "ztsnr")}


@pytest.fixture(scope="module")
def own(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        value: dict[str, Any] = json.loads(opened.metadata()["nadir"])
    return value


@pytest.fixture
def write(tmp_path: Path, tensors: dict[str, torch.Tensor], own: dict[str, Any]) -> Write:
    """A file of the same weights with other tensors and metadata; it tells sizes, no process."""

    def run(added: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
        sizes = {name: own[name] for name in ("configs", "tokenizers")}
        told = {"nadir": json.dumps(sizes)} | (metadata or {})
        save_file(tensors | added, tmp_path / "theirs.safetensors", told)
        return tmp_path / "theirs.safetensors"

    return run


def table(**changes: Any) -> torch.Tensor:
    return NoiseSchedule.from_settings(**NOISE | changes).alphas_cumprod.float()


STOCK = {"zero_terminal_snr": False}
V, ZERO = {"v_pred": EMPTY}, {"ztsnr": EMPTY}
SPEC = "modelspec.prediction_type"
TOLD: list[tuple[dict[str, torch.Tensor], dict[str, str], str, bool]] = [
    ({}, {}, "epsilon", False),
    (V, {}, "v", False),
    (V | ZERO, {}, "v", True),
    ({}, {SPEC: "v"}, "v", False),
    ({}, {SPEC: "V_prediction"}, "v", False),
    ({}, {"modelspec.predict_key": "v"}, "v", False),
    ({}, {SPEC: "epsilon", "modelspec.predict_key": "epsilon"}, "epsilon", False),
    (ZERO, {SPEC: "v"}, "v", True),
    # SwarmUI's, when a user edits the model's metadata there.
    (V | ZERO, {SPEC: "v-zsnr"}, "v", True),
    ({}, {SPEC: "v-zsnr"}, "v", True),
    ({}, {"prediction_type": "v"}, "v", False),
    ({}, {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, "v", True),
    ({}, {"ss_v_parameterization": "None", "ss_zero_terminal_snr": "None"}, "epsilon", False),
    # OneTrainer's two forms.
    (V | {"alphas_cumprod": table()}, {}, "v", True),
    (V | {"alphas_cumprod": table(**STOCK)}, {}, "v", False),
    (V | ZERO | {"alphas_cumprod": table().half()}, {}, "v", True),
    ({"alphas_cumprod": table(**STOCK).bfloat16()}, {}, "epsilon", False),
    ({"betas": NoiseSchedule.from_settings(**NOISE).betas.float()}, {SPEC: "v"}, "v", True),
    # SDXL base's own, which merges hand on whatever the model became.
    (V | ZERO | {"denoiser.sigmas": ((1 - table(**STOCK)) / table(**STOCK)).sqrt()}, {}, "v", True),
]


@pytest.mark.parametrize(("added", "metadata", "prediction", "zero"), TOLD)
def test_the_noise_process_is_read_wherever_a_program_tells_it(
    write: Write,
    added: dict[str, torch.Tensor],
    metadata: dict[str, str],
    prediction: str,
    zero: bool,
) -> None:
    file = write(added, metadata)
    expected = NOISE | {"prediction": prediction, "zero_terminal_snr": zero}
    assert load_checkpoint_info(file).noise == expected


def test_the_imported_pipeline_samples_by_what_is_told(write: Write) -> None:
    config = load_single_file(write(V | {"alphas_cumprod": table()})).scheduler.config
    assert config.prediction_type == "v_prediction"
    assert config.rescale_betas_zero_snr


CONTRADICTIONS = [
    (V, {SPEC: "epsilon"}, r"`v_pred` says v-prediction, but .*prediction_type` says epsilon"),
    ({}, {SPEC: "v", "modelspec.predict_key": "epsilon"}, "predict_key` says epsilon"),
    (V, {"ss_v_parameterization": "False"}, r"`v_pred` .* `ss_v_parameterization` says epsilon"),
    (V | ZERO, {"ss_zero_terminal_snr": "False"}, r"`ztsnr` .* `ss_zero_terminal_snr`"),
    (
        {},
        {SPEC: "v-zsnr", "ss_zero_terminal_snr": "False"},
        r"`modelspec\.prediction_type` says zero terminal SNR: yes, but .*`ss_zero_terminal_snr`",
    ),
    (ZERO, {}, "`ztsnr` says zero terminal SNR: yes, but nothing says v-prediction"),
    ({"alphas_cumprod": table()}, {}, "`alphas_cumprod` says zero terminal SNR: yes, but nothing"),
    (V | ZERO | {"alphas_cumprod": table(**STOCK)}, {}, r"`ztsnr` .* `alphas_cumprod` .*: no"),
]


@pytest.mark.parametrize(("added", "metadata", "message"), CONTRADICTIONS)
def test_places_that_contradict_each_other_are_both_named(
    write: Write, added: dict[str, torch.Tensor], metadata: dict[str, str], message: str
) -> None:
    file = write(added, metadata)
    for read in (load_checkpoint_info, load_single_file):
        with pytest.raises(NadirError, match=message):
            read(file)


OTHERS = [
    ({"edm_vpred.sigma_max": torch.tensor(120.0)}, {}, r"EDM \(edm_vpred\.sigma_max\), as CosXL"),
    (V | {"edm_vpred.sigma_min": torch.tensor(0.002)}, {}, r"EDM \(edm_vpred\.sigma_min\)"),
    ({"edm_mean": torch.zeros(4), "edm_std": torch.ones(4)}, {}, r"\(edm_mean\), as Playground"),
    ({}, {SPEC: "edm"}, "say 'edm', which is neither epsilon nor v"),
    ({}, {SPEC: "flow"}, "say 'flow', which is neither epsilon nor v"),
    ({"rectified_flow": EMPTY}, {}, "an empty tensor named rectified_flow"),
    ({"alphas_cumprod": table(sigma_shift=2.0)}, {}, "`alphas_cumprod` in the file is not of SDXL"),
    ({"denoiser.sigmas": torch.linspace(0.002, 120, 1000)}, {}, "`denoiser.sigmas` in the file"),
    ({}, {"nadir": "{not json"}, "the metadata `nadir` of the file are damaged"),
    ({}, {"nadir": '{"noise": {"prediction": "v"}}'}, "the metadata `nadir` of the file are"),
]


@pytest.mark.parametrize(("added", "metadata", "message"), OTHERS)
def test_foreign_noise_processes_are_refused_by_name(
    write: Write, added: dict[str, torch.Tensor], metadata: dict[str, str], message: str
) -> None:
    file = write(added, metadata)
    for read in (load_checkpoint_info, load_single_file):
        with pytest.raises(NadirError, match=message):
            read(file)


DAMAGED: list[tuple[str, Any]] = [
    (entry, junk) for entry in ("configs", "tokenizers", "training") for junk in ("x", [1, 2], 7)
]
DAMAGED += [("configs", {"unet": {}}), ("tokenizers", [{}, {}]), ("tokenizers", {"words": []})]


@pytest.mark.parametrize(("entry", "junk"), DAMAGED)
def test_damaged_metadata_of_ours_are_told(
    write: Write, own: dict[str, Any], entry: str, junk: Any
) -> None:
    told = {name: own[name] for name in ("configs", "tokenizers")} | {entry: junk}
    file = write({}, {"nadir": json.dumps(told)})
    for read in (load_checkpoint_info, load_single_file):
        with pytest.raises(NadirError, match="metadata `nadir` of the file are damaged"):
            read(file)


@pytest.mark.parametrize("junk", [{"layers_per_block": "x"}, {"sample_size": 8}])
def test_sizes_of_ours_that_make_no_network_are_told(
    write: Write, own: dict[str, Any], junk: dict[str, Any]
) -> None:
    configs = own["configs"] | {"vae": junk | {"block_out_channels": "x"}}
    file = write({}, {"nadir": json.dumps({"configs": configs, "tokenizers": own["tokenizers"]})})
    with pytest.raises(NadirError, match=r"not a whole SDXL \(its VAE"):
        load_single_file(file)


@pytest.mark.parametrize("key", ["ss_v_parameterization", "ss_zero_terminal_snr"])
def test_a_switch_that_is_neither_on_nor_off_is_not_passed_over(write: Write, key: str) -> None:
    with pytest.raises(NadirError, match=f"`{key}` say 'yes', which is neither True nor False"):
        load_checkpoint_info(write({}, {key: "yes"}))


@pytest.mark.parametrize("lost", ["v_pred", "ztsnr"])
def test_own_metadata_do_not_outvote_lost_markers(file: Path, tmp_path: Path, lost: str) -> None:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    left = {name: t for name, t in load_file(file).items() if name != lost}
    save_file(left, tmp_path / "less.safetensors", metadata)
    with pytest.raises(NadirError, match=rf"say v-prediction .*`{lost}`.* is missing"):
        load_checkpoint_info(tmp_path / "less.safetensors")


@pytest.mark.parametrize(
    ("key", "value"), [(SPEC, "epsilon"), ("ss_zero_terminal_snr", "False"), (SPEC, "sample")]
)
def test_own_metadata_do_not_outvote_what_else_is_told(
    file: Path, tmp_path: Path, key: str, value: str
) -> None:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata() | {key: value}
    save_file(load_file(file), tmp_path / "edited.safetensors", metadata)
    with pytest.raises(NadirError, match=rf"`{key}`"):
        load_checkpoint_info(tmp_path / "edited.safetensors")


def test_own_epsilon_contradicts_a_marker(base: Path, tmp_path: Path) -> None:
    export_single_file(base, tmp_path / "base.safetensors")
    with safe_open(tmp_path / "base.safetensors", framework="pt") as opened:
        metadata = opened.metadata()
    told = {k: v for k, v in metadata.items() if not k.startswith("modelspec.pred")}
    save_file(load_file(tmp_path / "base.safetensors") | V, tmp_path / "v.safetensors", told)
    with pytest.raises(NadirError, match="`v_pred` says v-prediction, but the metadata `nadir`"):
        load_checkpoint_info(tmp_path / "v.safetensors")


def scaled(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (weight / scale).to(torch.float8_e4m3fn)


def note(**entries: Any) -> torch.Tensor:
    return torch.tensor(list(json.dumps(entries).encode()), dtype=torch.uint8)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", ["scaled_fp8", "comfy_quant", "metadata"])
@pytest.mark.parametrize("place", [LAYER, f"{TEXT}encoder.layers.0.mlp.fc1"])
def test_scaled_fp8_is_multiplied_out_exactly(
    write: Write, tensors: dict[str, torch.Tensor], form: str, place: str, per_channel: bool
) -> None:
    weight = tensors[f"{place}.weight"]
    # As large as the scales of real files make it: 448 of 8 bits for the largest weight.
    largest = weight.abs().amax(dim=1, keepdim=True) if per_channel else weight.abs().max()
    scale = largest / 448
    stored = scaled(weight, scale)
    added, metadata = {f"{place}.weight": stored}, {}
    if form == "scaled_fp8":
        added |= {f"{place}.scale_weight": scale, f"{place}.scale_input": torch.tensor(3.0)}
        added[f"{UNET}scaled_fp8"] = torch.zeros(2).to(torch.float8_e4m3fn)
    else:
        added |= {f"{place}.weight_scale": scale, f"{place}.input_scale": torch.tensor(3.0)}
        layer = {"format": "float8_e4m3fn", "full_precision_matrix_mult": True}
        if form == "comfy_quant":
            added[f"{place}.comfy_quant"] = note(**layer)
        else:
            metadata["_quantization_metadata"] = json.dumps({"layers": {place: layer}})
    pipeline = load_single_file(write(added, metadata))
    state = (pipeline.unet if place == LAYER else pipeline.text_encoder).state_dict()
    exact = stored.float() * scale
    assert any(t.shape == exact.shape and torch.equal(t.float(), exact) for t in state.values())
    assert (exact - weight).abs().max() < 0.04 * weight.abs().max()


def test_plain_fp8_stays_as_it_is(write: Write, tensors: dict[str, torch.Tensor]) -> None:
    stored = tensors[f"{LAYER}.weight"].to(torch.float8_e4m3fn)
    state = load_single_file(write({f"{LAYER}.weight": stored})).unet.state_dict()
    assert sum(t.dtype == torch.float8_e4m3fn for t in state.values()) == 1


BYTES = torch.zeros(8, dtype=torch.uint8)
INTEGERS = torch.zeros(16, 64, dtype=torch.int8)
QUANTISED = [
    ({f"{LAYER}.weight.absmax": EMPTY}, "bitsandbytes"),
    ({f"{LAYER}.weight.quant_state.bitsandbytes__nf4": BYTES}, "bitsandbytes"),
    ({f"{LAYER}.SCB": torch.ones(4)}, "bitsandbytes"),
    ({f"{LAYER}.qweight": BYTES, f"{LAYER}.wscales": torch.ones(4)}, "GPTQ, AWQ or SVDQuant"),
    ({f"{LAYER}.weight._data": BYTES}, "quanto"),
    ({f"{LAYER}.weight_scale_inv": torch.ones(2, 2)}, "block-wise fp8"),
    ({f"{LAYER}.weight_scale": torch.ones(1, 64)}, "block-wise fp8"),
    ({f"{LAYER}.weight_scale_2": torch.ones(1)}, "4-bit"),
    ({f"{LAYER}.comfy_quant": note(format="nvfp4")}, "nvfp4"),
    ({f"{LAYER}.comfy_quant": note(format="float8_e4m3fn", convrot=True)}, "convrot"),
    ({f"{LAYER}.comfy_quant": note(format="float8_e4m3fn")}, "fp8 quantisation without a scale"),
    ({f"{LAYER}.comfy_quant": BYTES + 7}, "cannot be read"),
    ({f"{LAYER}.weight": INTEGERS}, "I8 quantisation"),
    (
        {f"{LAYER}.scale_weight": torch.ones(1), f"{LAYER}.weight_scale": torch.ones(1)},
        "two scales of one weight",
    ),
    ({f"{UNET}nowhere.scale_weight": torch.ones(1)}, "a scale without a weight"),
    ({f"{LAYER}.scale": torch.ones(1)}, r"does not have \(.*to_k\.scale\)"),
    ({f"{VAE}quant_conv.scale": torch.ones(1)}, r"does not have \(.*quant_conv\.scale\)"),
    ({f"{TEXT}encoder.layers.0.mlp.fc1.svd_up": torch.ones(1)}, r"does not have \(.*svd_up\)"),
    ({f"{UNET}input_blocks.1.1.norm.extra": torch.ones(1)}, r"does not have \(.*extra\)"),
]


@pytest.mark.parametrize(("added", "message"), QUANTISED)
def test_other_quantisations_and_unknown_parts_are_refused_by_name(
    write: Write, added: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(NadirError, match=message):
        load_single_file(write(added))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name",
    [
        f"{LAYER}.weight",
        f"{VAE}decoder.conv_in.bias",
        f"{TEXT}final_layer_norm.weight",
        f"{TEXT_2}transformer.resblocks.0.attn.in_proj_weight",
    ],
)
def test_weights_that_are_no_numbers_are_refused_by_their_name(
    write: Write, tensors: dict[str, torch.Tensor], name: str, bad: float
) -> None:
    broken = tensors[name].clone()
    broken.view(-1)[-1] = bad
    with pytest.raises(NadirError, match=rf"the weight {name} holds NaN or infinity"):
        load_single_file(write({name: broken}))


def test_nan_of_eight_bits_is_seen_too(write: Write, tensors: dict[str, torch.Tensor]) -> None:
    broken = torch.full_like(tensors[f"{LAYER}.weight"], float("nan")).to(torch.float8_e4m3fn)
    with pytest.raises(NadirError, match="holds NaN or infinity"):
        load_single_file(write({f"{LAYER}.weight": broken}))


@pytest.mark.parametrize(
    ("prefixes", "named"),
    [
        ([VAE], "the file has no VAE, so"),
        ([TEXT], r"no first text encoder \(CLIP ViT-L\), so"),
        ([TEXT_2], r"no second text encoder \(OpenCLIP ViT-bigG\), so"),
        ([TEXT, TEXT_2], r"no first text encoder .* and no second text encoder"),
        ([VAE, TEXT, TEXT_2], "no VAE and no first text encoder .* and no second"),
        ([UNET], r"is a VAE alone|is a text encoder alone"),
        ([f"{UNET}out.2.bias"], rf"its U-Net lacks {UNET}out\.2\.bias"),
        ([f"{VAE}decoder.norm_out"], rf"its VAE lacks {VAE}decoder\.norm_out"),
    ],
)
def test_a_missing_part_of_a_file_is_named(
    write: Write, tmp_path: Path, prefixes: list[str], named: str
) -> None:
    whole = write({})
    with safe_open(whole, framework="pt") as opened:
        metadata = opened.metadata()
    left = {n: t for n, t in load_file(whole).items() if not n.startswith(tuple(prefixes))}
    save_file(left, tmp_path / "less.safetensors", metadata)
    with pytest.raises(NadirError, match=named):
        load_single_file(tmp_path / "less.safetensors")


@pytest.mark.parametrize(
    ("channels", "named"), [(9, "an inpainting model"), (8, "edits pictures"), (5, "another task")]
)
def test_a_unet_of_another_task_is_named(write: Write, channels: int, named: str) -> None:
    first = torch.zeros(16, channels, 3, 3)
    with pytest.raises(NadirError, match=rf"{named} .*takes {channels} channels"):
        load_single_file(write({f"{UNET}input_blocks.0.0.weight": first}))


def test_a_projection_as_a_linear_layers_weight_is_read_untransposed(
    write: Write, file: Path, tmp_path: Path
) -> None:
    """As diffusers' own converter to single files writes it."""
    projection = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    theirs = load_file(write({}))
    key = f"{TEXT_2}text_projection"
    shape = theirs.pop(key).shape
    theirs[f"{key}.weight"] = projection[: shape[1], : shape[0]].contiguous()
    with safe_open(tmp_path / "theirs.safetensors", framework="pt") as opened:
        metadata = opened.metadata()
    save_file(theirs, tmp_path / "linear.safetensors", metadata)
    second = load_single_file(tmp_path / "linear.safetensors").text_encoder_2
    assert torch.equal(second.text_projection.weight, theirs[f"{key}.weight"])


def test_what_programs_leave_beside_the_weights_does_no_harm(write: Write, file: Path) -> None:
    left = {
        f"{TEXT}embeddings.position_ids": torch.arange(77),
        f"{TEXT_2}logit_scale": torch.tensor(4.6),
        "model_ema.decay": torch.tensor(0.9),
        "model_ema.input_blocks0": torch.full((2,), float("nan")),
        "cond_stage_model.x.weight": torch.zeros(2),
    }
    ours, theirs = load_single_file(file).unet, load_single_file(write(V | ZERO | left)).unet
    other = theirs.state_dict()
    assert all(torch.equal(t, other[name]) for name, t in ours.state_dict().items())
