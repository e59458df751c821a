"""CLIP and DINOv2 out of local folders, as transformers writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPTokenizer, Dinov2Model

from nadir.evaluation.networks.files import where_of
from nadir.evaluation.networks.pictures import (
    CLIP_MEAN,
    CLIP_STD,
    DINOV2_SIDE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    normalised,
    resized,
)
from nadir.evaluation.networks.text_chunks import MOST_TOKENS, text_chunks
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class Clip:
    """CLIP's two halves, both as vectors of unit length.

    Args:
        folder: Checked, with weights, configuration and tokenizer.
        device: Where to run.

    Raises:
        NadirError: It is not a whole CLIP.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._model = _loaded(CLIPModel, folder, "clip").to(device)
        self._tokenizer = _tokenizer(folder)
        self._device = device
        self.side: int = self._model.config.vision_config.image_size

    @torch.no_grad()
    def pictures(self, images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
        """Vectors [N, F] of pictures, each resized to CLIP's own side."""
        pixels = normalised(resized(images_NCHW, self.side), CLIP_MEAN, CLIP_STD).to(self._device)
        pooled = self._model.vision_model(pixel_values=pixels).pooler_output
        return _unit(self._model.visual_projection(pooled))

    @torch.no_grad()
    def text(self, text: str) -> NDArray[np.float64]:
        """The vector [F] of a text of any length: the mean of its parts', of unit length again."""
        parts = text_chunks(text, self._tokenizer)
        # Only a single word of over 75 tokens is cut.
        tokens = self._tokenizer(
            parts, padding=True, truncation=True, max_length=MOST_TOKENS + 2, return_tensors="pt"
        ).to(self._device)
        pooled = self._model.text_model(**tokens).pooler_output
        each = torch.from_numpy(_unit(self._model.text_projection(pooled)))
        return normalize(each.mean(dim=0), dim=0).numpy()


class Dinov2:
    """DINOv2's summary of a picture: its class token behind the last norm.

    Args:
        folder: Checked, with weights and configuration.
        device: Where to run.

    Raises:
        NadirError: It is not a whole DINOv2.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._model = _loaded(Dinov2Model, folder, "dinov2").to(device)
        self._device = device

    @torch.no_grad()
    def pictures(self, images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
        """Features [N, F] of pictures, each resized to 224 x 224."""
        pixels = normalised(resized(images_NCHW, DINOV2_SIDE), IMAGENET_MEAN, IMAGENET_STD)
        found = self._model(pixel_values=pixels.to(self._device)).pooler_output
        values: NDArray[np.float64] = found.double().cpu().numpy()
        return values


def _unit(values: torch.Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = normalize(values.double(), dim=-1).cpu().numpy()
    return found


def _loaded(kind: Any, folder: Path, key: str) -> Any:
    """A model in float32; transformers draws weights that are missing at random, so none may be."""
    try:
        model, said = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _fault(folder, key, kind, str(error).strip().split("\n")[0][:200]) from error
    lacking = sorted(said["missing_keys"]) + sorted(str(one) for one in said["mismatched_keys"])
    if lacking:
        raise _fault(folder, key, kind, f"{len(lacking)} weights are missing, such as {lacking[0]}")
    return model.eval()


def _tokenizer(folder: Path) -> Any:
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        why = f"its tokenizer cannot be read: {str(error).strip().split(chr(10))[0][:160]}"
        raise _fault(folder, "clip", CLIPModel, why) from error


def _fault(folder: Path, key: str, kind: Any, why: str) -> NadirError:
    return NadirError(
        f"{folder} does not hold a {kind.__name__}: {why}",
        where=where_of(key),
        fix="name the folder of the model that this metric uses",
    )
