"""Whether a diffusers folder is a whole text-to-image SDXL, weight by weight.

Diffusers and transformers fill what a folder lacks with random weights, and pass over what they
do not know, such as the scales of quantised weights; both only warn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.model.checkpoint.portable import has_vocabulary
from nadir.model.recognition.kind import OTHER_TASKS
from nadir.model.recognition.weights import FLOATS, SCALES, quantised_form
from nadir.model.sdxl.networks import CLIP_VOCABULARY
from nadir.model.sdxl.progress_bars import hide_progress_bars

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_CLASSES: dict[str, Any] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
_FIX = "get the model's whole fp16, bf16 or fp32 safetensors"


def load_checked(folder: Path, *, where: str) -> dict[str, Any]:
    """The four networks of a folder in float32, on the CPU.

    Args:
        folder: A diffusers folder.
        where: What to name in errors.

    Raises:
        NadirError: It is of another task, quantised, incomplete or broken, or its tokenizers are.
    """
    hide_progress_bars()
    _require_task(folder, where)
    _require_vae(folder, where)
    require_tokenizers(folder, where)
    return {part: _load(folder, part, kind, where) for part, kind in _CLASSES.items()}


def require_tokenizers(folder: Path, where: str) -> None:
    """Refuse a folder whose tokenizers give other tokens than its text encoders know.

    transformers makes a tokenizer without words of an empty folder, and every tag one and the same
    token.

    Raises:
        NadirError: A vocabulary is missing, damaged, or larger than the text encoder's.
    """
    for part, encoder in (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")):
        if not has_vocabulary(folder / part):
            raise _refused(
                f"its {part} has no tokenizer.json, and no vocab.json with merges.txt", where
            )
        try:
            tokenizer = CLIPTokenizer.from_pretrained(folder / part, local_files_only=True)
        except Exception as error:  # the tokenizers library raises nothing more special
            said = " ".join(str(error).split())[:200]
            raise _refused(f"its {part} cannot be read ({said})", where) from error
        known = read_json(folder / encoder / "config.json").get("vocab_size", CLIP_VOCABULARY)
        if len(tokenizer) > known:
            raise _refused(
                f"its {part} has {len(tokenizer):,} tokens, and its {encoder} knows {known:,}",
                where,
            )


def require_plain(folder: Path, *, where: str | None = None) -> None:
    """Refuse a folder of quantised weights, by their files' headers alone.

    Args:
        folder: A diffusers folder.
        where: What to name in errors; None is the folder.

    Raises:
        NadirError: Quantised, or a file is damaged.
    """
    for part in _CLASSES:
        if (folder / part / "config.json").is_file():
            _require_plain(folder, part, where or str(folder))


def _require_task(folder: Path, where: str) -> None:
    takes = read_json(folder / "unet/config.json")["in_channels"]
    gives = read_json(folder / "vae/config.json")["latent_channels"]
    if takes != gives:
        kind = OTHER_TASKS.get(takes, "a model of another task")
        raise NadirError(
            f"the model is {kind}: its U-Net takes {takes} channels and the VAE gives {gives}",
            where=where,
            fix="name a text-to-image SDXL, not one for inpainting or editing",
        )


def _require_vae(folder: Path, where: str) -> None:
    """Refuse a VAE that the class AutoencoderKL would load, and then compute otherwise."""
    config = read_json(folder / "vae/config.json")
    kind = config.get("_class_name", "AutoencoderKL")
    padding = config.get("padding_mode", "zeros")
    fault = ""
    if kind != "AutoencoderKL":
        fault = f"its VAE is an {kind}, not an AutoencoderKL"
    elif padding != "zeros":
        fault = f"its VAE pads its convolutions by {padding!r}, and SDXL's pads with zeros"
    elif not (config.get("use_quant_conv", True) and config.get("use_post_quant_conv", True)):
        fault = "its VAE has no quant_conv or post_quant_conv, into which the scaling is folded"
    if fault:
        raise NadirError(
            f"the model cannot be used: {fault}",
            where=where,
            fix="name a model with SDXL's kind of VAE; another scale, shift or number of channels "
            "may be set in its config.json",
        )


def _load(folder: Path, part: str, kind: Any, where: str) -> Any:
    _require_plain(folder, part, where)
    try:
        model, info = kind.from_pretrained(
            folder / part,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (ValueError, RuntimeError, OSError, SafetensorError) as error:
        said = " ".join(str(error).split())[:300]
        raise _refused(f"its {part} cannot be loaded ({said})", where) from error
    state = model.state_dict()
    missing = sorted(info["missing_keys"])
    beside = sorted(_beside(info["unexpected_keys"], state))
    if missing:
        raise _refused(f"its {part} lacks {missing[0]} ({len(missing)} weights in all)", where)
    if beside:
        raise _refused(f"its {part} has a tensor that SDXL does not have ({beside[0]})", where)
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise _refused(f"the weight {part}.{name} holds NaN or infinity", where)
    return model.eval().requires_grad_(requires_grad=False)


def _require_plain(folder: Path, part: str, where: str) -> None:
    """Refuse quantised weights, which loading would take for plain ones."""
    form = None
    config = read_json(folder / part / "config.json").get("quantization_config")
    if config:
        form = f"{config.get('quant_method', 'unknown')} quantisation"
    for path in sorted((folder / part).glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as opened:
                types = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise _refused(f"{part}/{path.name} is damaged ({error})", where) from error
        scale = next((name for name in types if name.endswith(SCALES)), None)
        odd = next((n for n in types if n.endswith("weight") and types[n] not in FLOATS), None)
        form = form or quantised_form(types)
        if scale or odd:
            form = form or (f"scaled fp8 ({scale})" if scale else f"{types[odd]} quantisation")
    if form:
        raise _refused(f"its {part} has {form}", where)


def _beside(names: Iterable[str], state: dict[str, torch.Tensor]) -> Iterable[str]:
    """Unknown tensors that share a module with a weight, such as its scale."""
    for name in names:
        parts = name.split(".")
        modules = (".".join(parts[:end]) for end in range(1, len(parts)))
        if any(f"{module}.weight" in state for module in modules):
            yield name


def _refused(what: str, where: str) -> NadirError:
    return NadirError(f"the model cannot be used: {what}", where=where, fix=_FIX)
