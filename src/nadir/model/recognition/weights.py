"""A single file's weights as they are meant: scaled 8-bit ones multiplied out, broken ones refused.

Two forms of scaled fp8 are read, both ComfyUI's: `<layer>.scale_weight` (with `scaled_fp8` and
`<layer>.scale_input` beside it), and `<layer>.weight_scale` (with `<layer>.comfy_quant`, a JSON
text as bytes, or the metadata `_quantization_metadata`). The weight is the stored one times its
scale; scales of inputs only matter to arithmetic in fp8. Every other quantisation is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

SCALES = (".scale_weight", ".weight_scale")
_PASSED_OVER = (".scale_input", ".input_scale", "scaled_fp8", ".comfy_quant")
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
_KNOWN_FORMATS = {"float8_e4m3fn", "float8_e5m2"}
_KNOWN_ENTRIES = {"format", "full_precision_matrix_mult"}
_COMFY_METADATA = "_quantization_metadata"
_QUANTISED = [
    (
        "bitsandbytes",
        r"\.(absmax|quant_map|nested_absmax|nested_quant_map|SCB|weight_format)$|\.quant_state\.",
    ),
    ("NF4 or 4-bit", r"\.weight_scale_2$"),
    ("GPTQ, AWQ or SVDQuant", r"\.(qweight|qzeros|g_idx|wscales|smooth_factor)$"),
    ("quanto", r"\.(weight|bias)\._(data|scale|shift)$|\.output_scale$"),
    ("block-wise fp8", r"\.weight_scale_inv$"),
    ("integer", r"\.(weight_)?(zero_point|weight_packed|weight_shape|codebook)$"),
]
_FIX = "use the model's fp16, bf16 or fp32 file"


def quantised_form(names: Any) -> str | None:
    """The quantisation that some tensors' names show and Nadir does not read, with the name."""
    for form, pattern in _QUANTISED:
        found = next((name for name in names if re.search(pattern, name)), None)
        if found:
            return f"{form} quantisation ({found})"
    return None


class Weights(Mapping[str, "torch.Tensor"]):
    """Tensors of an opened file by name, read one at a time.

    Args:
        file: What to name in errors.
        opened: The file, from `safetensors.safe_open`.

    Attributes:
        shapes: Shape of each tensor.
        taken: Names that were got.

    Raises:
        NadirError: Quantised in a way that is not read. Getting a tensor raises it, too, for one
            that holds NaN or infinity.
    """

    def __init__(self, file: Path, opened: Any) -> None:
        self._file, self._opened = file, opened
        self._types: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.taken: set[str] = set()
        for name in opened.keys():  # noqa: SIM118 - safe_open is not a mapping
            part = opened.get_slice(name)
            self.shapes[name], self._types[name] = tuple(part.get_shape()), part.get_dtype()
        form = quantised_form(self.shapes)
        if form:
            raise self._refused(form)
        self._require_known_formats()
        pairs = list(self._find_scales())
        self._scales = dict(pairs)
        if len(pairs) > len(self._scales):
            raise self._refused("two scales of one weight")

    def __getitem__(self, name: str) -> torch.Tensor:
        """One weight, with its scale multiplied in (then float32).

        Raises:
            KeyError: No such tensor.
        """
        if name not in self.shapes:
            raise KeyError(name)
        if self._types[name] not in FLOATS:
            raise self._refused(f"{self._types[name]} quantisation ({name})")
        self.taken.add(name)
        tensor: torch.Tensor = self._opened.get_tensor(name)
        if name in self._scales:
            tensor = tensor.float() * self._scale(name, tensor)
        # fp8 has no test of its own.
        plain = tensor.float() if tensor.element_size() == 1 else tensor
        if not bool(plain.isfinite().all()):
            raise NadirError(
                f"the weight {name} holds NaN or infinity",
                where=str(self._file),
                fix="the model is broken; use another file of it",
            )
        return tensor

    def __iter__(self) -> Iterator[str]:
        """Names of all tensors but scales and notes on them."""
        scales = set(self._scales.values())
        return (n for n in self.shapes if n not in scales and not n.endswith(_PASSED_OVER))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def require_all_taken(self, strict: str) -> None:
        """Refuse weights with something beside them that changes what they mean.

        Args:
            strict: Prefix of the part in which every tensor must have been taken; in others only
                those matter that share a module with one that was.

        Raises:
            NadirError: Something is left, such as scales of an unknown form or an adapter.
        """
        left = [name for name in self if name not in self.taken]
        for name in left:
            parts = name.split(".")
            modules = (".".join(parts[:end]) for end in range(1, len(parts)))
            if name.startswith(strict) or any(f"{m}.weight" in self.taken for m in modules):
                raise self._refused(f"a tensor that SDXL does not have ({name})")

    def _scale(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The scale of a weight, shaped to multiply it: one number, or one per output channel."""
        place = self._scales[name]
        scale: torch.Tensor = self._opened.get_tensor(place).float()
        rest = scale.shape[1:]
        per_channel = scale.ndim > 0 and scale.shape[0] == weight.shape[0] and set(rest) <= {1}
        if scale.numel() != 1 and not per_channel:
            raise self._refused(f"block-wise fp8 quantisation ({place})")
        return scale.reshape(-1, *([1] * (weight.ndim - 1)))

    def _find_scales(self) -> Iterator[tuple[str, str]]:
        for place in self.shapes:
            for ending in SCALES:
                if not place.endswith(ending):
                    continue
                weight = f"{place.removesuffix(ending)}.weight"
                if weight not in self.shapes:
                    raise self._refused(f"a scale without a weight ({place})")
                yield weight, place

    def _require_known_formats(self) -> None:
        """Refuse layers that ComfyUI's notes call anything but plain scaled fp8."""
        notes: dict[str, Any] = {}
        metadata = (self._opened.metadata() or {}).get(_COMFY_METADATA)
        if metadata:
            value = self._json(metadata, _COMFY_METADATA)
            layers = value.get("layers") if isinstance(value, dict) else None
            notes |= layers if isinstance(layers, dict) else {_COMFY_METADATA: None}
        for name in self.shapes:
            if name.endswith(".comfy_quant"):
                note = bytes(self._opened.get_tensor(name).flatten().tolist())
                notes[name.removesuffix(".comfy_quant")] = self._json(note.rstrip(b"\0"), name)
        for layer, note in notes.items():
            known = isinstance(note, dict) and note.get("format") in _KNOWN_FORMATS
            if not known or not set(note) <= _KNOWN_ENTRIES:
                raise self._refused(f"{json.dumps(note)[:80]} quantisation of {layer}")
            if f"{layer}.weight_scale" not in self.shapes:
                raise self._refused(f"fp8 quantisation without a scale ({layer})")

    def _json(self, text: str | bytes, place: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._refused(f"quantisation that cannot be read ({place})") from error

    def _refused(self, what: str) -> NadirError:
        return NadirError(
            f"the file has {what}, which is not read", where=str(self._file), fix=_FIX
        )
