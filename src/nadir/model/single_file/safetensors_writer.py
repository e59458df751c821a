"""Writes a safetensors file whose bytes depend on its content alone.

The library's own writer (0.8.0) puts metadata in a random order, so equal checkpoints would have
unequal hashes.
Format: 8 bytes of header length (little-endian), a JSON header, the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import torch

from nadir.ground.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.float8_e4m3fn: "F8_E4M3",
}
_ALIGNMENT = 8


def write_safetensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    *,
    hash_key: str | None = None,
    like: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write atomically; equal tensors and metadata give equal bytes.

    Args:
        path: The file.
        tensors: By name, each asked for once when its turn comes; empty ones are kept.
        metadata: Strings for the header.
        hash_key: Name of a further entry of the metadata: SHA-256 of all that follows the header,
            as ModelSpec wants it ("0x" and 64 hex digits); None writes none.
        like: Tensors of the same names, shapes and types, where making `tensors` takes memory or
            time: they may be on the meta device.
    """
    entries = dict(metadata) | ({hash_key: _hash_text("0" * 64)} if hash_key else {})
    header: dict[str, object] = {"__metadata__": dict(sorted(entries.items()))}
    offset, shapes = 0, tensors if like is None else like
    # Wide types first: readers take a tensor in place, which must lie at a multiple of its width.
    names = sorted(shapes, key=lambda name: (-shapes[name].element_size(), name))
    for name in names:
        tensor = shapes[name]
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        digest = hashlib.sha256()
        for name in names:
            tensor = tensors[name].detach().cpu().contiguous()
            data = tensor.reshape(-1).view(torch.uint8).numpy().data
            file.write(data)
            if hash_key:
                digest.update(data)
        if hash_key:
            # Known only now; the entry in the header has kept its place.
            file.seek(8 + text.index(_hash_text("0" * 64).encode()))
            file.write(_hash_text(digest.hexdigest()).encode())


def _hash_text(digits: str) -> str:
    return f"0x{digits}"
