"""What a single file says of itself in words: Stability AI's ModelSpec 1.0.1, in the header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.diffusion.sdxl import CHUNK_TOKENS
from nadir.model.sdxl.networks import sdxl_configs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nadir.model.checkpoint.info import CheckpointInfo

_ARCHITECTURE = "stable-diffusion-xl-v1-base"
_SEPARATOR = ", "
# What other programs recognise an SDXL by.
_SIZES = {
    "unet": ("block_out_channels", "transformer_layers_per_block", "cross_attention_dim"),
    "vae": ("block_out_channels",),
    "text_encoder": ("hidden_size", "num_hidden_layers", "vocab_size"),
    "text_encoder_2": ("hidden_size", "num_hidden_layers", "vocab_size"),
}


@dataclass(frozen=True)
class Words:
    """What its maker says of a model; None is left to Nadir or left out.

    Attributes:
        title: Unique, as ModelSpec wants it.
        description: In place of Nadir's sentence.
        author: A name or an address.
        licence: Its name, its address or its text.
        tags: Words to find it by.
        origin: A sentence on where it comes from, added to the description.
        thumbnail: A small picture as a `data:` address.
        date: ISO 8601.
    """

    title: str | None = None
    description: str | None = None
    author: str | None = None
    licence: str | None = None
    tags: tuple[str, ...] = ()
    origin: str | None = None
    thumbnail: str | None = None
    date: str | None = None

    def entries(self, *, title: str, description: str, tags: tuple[str, ...]) -> dict[str, str]:
        """Entries of the header; the arguments stand where nothing is said."""
        sentences = (self.description or description, self.origin)
        said = {
            "title": self.title or title,
            "description": " ".join(sentence for sentence in sentences if sentence),
            "author": self.author,
            "license": self.licence,
            "tags": _SEPARATOR.join(self.tags or tags),
            "thumbnail": self.thumbnail,
            "date": self.date,
        }
        return {f"modelspec.{name}": text for name, text in said.items() if text}


def other_sizes(configs: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The first size in which a model is not SDXL's, in words; None for SDXL's own sizes.

    Args:
        configs: Configurations of `unet`, `vae`, `text_encoder` and `text_encoder_2`.
    """
    stock = sdxl_configs()
    for part, names in _SIZES.items():
        for name in names:
            ours, theirs = configs[part].get(name), stock[part][name]
            if _listed(ours) != _listed(theirs):
                return f"{part} has {name} {_shown(ours)}, SDXL {_shown(theirs)}"
    return None


def modelspec_entries(
    info: CheckpointInfo,
    configs: Mapping[str, Mapping[str, Any]],
    *,
    mark: str,
    words: Words | None = None,
) -> dict[str, str]:
    """Entries of the header's metadata, those for every image model and how to ask this one.

    Args:
        info: What the checkpoint says about how it must be sampled.
        configs: Configurations of `unet`, `vae`, `text_encoder` and `text_encoder_2`.
        mark: A hash that no other model has; for the title, which ModelSpec wants unique.
        words: What its maker says.
    """
    side = side_px(configs)
    # ComfyUI's own name for it is predict_key.
    key = "epsilon" if info.noise["prediction"] == "epsilon" else "v"
    process = (f"{key}-prediction", *(["zero terminal SNR"] * info.noise["zero_terminal_snr"]))
    said = (words or Words()).entries(
        title=_title(info, mark),
        description=f"An SDXL fine-tuned with Nadir ({_SEPARATOR.join(process)}).",
        tags=process,
    )
    return {
        "modelspec.sai_model_spec": "1.0.1",
        # Programs go by the tensors; who reads this must not take a small model for an SDXL.
        "modelspec.architecture": f"{_ARCHITECTURE}-resized"
        if other_sizes(configs)
        else _ARCHITECTURE,
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        **said,
        "modelspec.resolution": f"{side}x{side}",
        **_prediction_type(info, key),
        "modelspec.predict_key": key,
        "modelspec.usage_hint": " ".join(usage_hints(info, side)),
    }


def _prediction_type(info: CheckpointInfo, key: str) -> dict[str, str]:
    """ModelSpec's own entry, which knows no terminal SNR.

    SwarmUI puts it over the tensors that ComfyUI goes by, and "v" would start its sampling at sigma
    14.6; without the entry the tensors count there, too.
    """
    return {} if info.noise["zero_terminal_snr"] else {"modelspec.prediction_type": key}


def _title(info: CheckpointInfo, mark: str) -> str:
    steps = f", {info.training['steps']:,} steps" if "steps" in info.training else ""
    return f"Nadir checkpoint {mark[:12]}{steps}"


def usage_hints(info: CheckpointInfo, side: int) -> Iterable[str]:
    """How people must ask the model in other programs."""
    caption = info.training.get("caption")
    if caption:
        spaced = caption["underscores"] == "space"
        yield "Prompts are lower-case booru tags between commas, with " + (
            "spaces in their words (red hair)." if spaced else "underscores (red_hair)."
        )
        chunks = int(caption["token_chunks"])
        yield f"It was trained with prompts of up to {chunks * CHUNK_TOKENS} tokens" + (
            f", padded to {chunks} chunks of {CHUNK_TOKENS}." if chunks > 1 else "."
        )
        yield "The empty negative prompt is encoded as text, not replaced by zeros."
        yield r"Where parentheses mean emphasis, escape those of tags: \( \)."
    size = info.training.get("original_size")
    if size:
        # Stored as height and width, as micro-conditioning has them.
        yield (
            f"Claim an original size of {size[1]}x{size[0]} and the canvas as target size "
            "(ComfyUI: CLIPTextEncodeSDXL)."
        )
    if info.noise["zero_terminal_snr"]:
        yield (
            "Sample from the very last timestep: in ComfyUI euler with the scheduler normal, "
            "simple or sgm_uniform; not ddim_uniform, karras or heun."
        )
    yield f"Made for canvases of about {side}x{side} pixels."


def side_px(configs: Mapping[str, Mapping[str, Any]]) -> int:
    """The side of the square that a model is made for, in pixels."""
    factor: int = 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    return int(configs["unet"]["sample_size"]) * factor


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
