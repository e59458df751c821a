"""The file format of latents: one bucket's latents and their keys, named by a hash of both.

A shard is `<W>x<H>-<hash of its content>.safetensors` with one tensor `latents` [N, C, h, w], the
VAE's posterior mean as it comes (no scaling), and its rows' keys in the metadata. Shards are
written whole or not at all and never change, so a killed run leaves nothing to repair.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIX = ".safetensors"
UNREADABLE = (SafetensorError, OSError, ValueError, KeyError)
"""What reading a damaged shard may raise."""

_TENSOR = "latents"
_METADATA = "nadir"
_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
# In the header: a key's digits with quotes and comma; names, types and shape of the tensor.
_KEY_BYTES, _HEADER_BYTES = 72, 1024


def shard_rows(shard_bytes: int, row_bytes: int) -> int:
    """How many latents of `row_bytes` fit into a shard file of `shard_bytes`; at least one."""
    return max(1, (shard_bytes - _HEADER_BYTES) // (row_bytes + _KEY_BYTES))


def shard_name(bucket: str, keys: Sequence[str], latents_NCHW: NDArray[Any]) -> str:
    """File name of a shard: equal exactly when bucket, keys and latents are."""
    return f"{bucket}-{_content_hash(keys, latents_NCHW)[:32]}{SUFFIX}"


def shard_bucket(name: str) -> str:
    """The bucket ("WxH" in pixels) in a shard's name."""
    return name.rpartition("-")[0]


def write_shard(folder: Path, bucket: str, keys: Sequence[str], latents: NDArray[Any]) -> str:
    """Write one shard and return its file name; a shard with this content is kept as it is.

    Args:
        folder: Where shards lie.
        bucket: "WxH" in pixels.
        keys: [N] key of each row, at least one.
        latents: [N, C, h, w], fp32 or fp16, contiguous.

    Raises:
        ValueError: Keys and latents do not match, or another dtype.
    """
    if not keys or len(keys) != len(latents):
        msg = f"{len(keys)} keys for {len(latents)} latents"
        raise ValueError(msg)
    if latents.dtype not in _TYPES.values():
        msg = f"latents are stored as fp32 or fp16, not {latents.dtype}"
        raise ValueError(msg)
    name = shard_name(bucket, keys, latents)
    if not (folder / name).is_file() or not is_intact(folder / name):
        # One entry, because safetensors writes several in a random order.
        metadata = {_METADATA: json.dumps({"bucket": bucket, "keys": list(keys)})}
        with atomic_path(folder / name) as temporary:
            save_file({_TENSOR: latents}, temporary, metadata=metadata)
    return name


def shard_keys(path: Path) -> list[str]:
    """Keys of a shard's rows; reads the header only.

    Raises:
        Exception: One of `UNREADABLE`. A file that is shorter or longer than its header says is
            refused.
    """
    with safe_open(path, framework="numpy") as file:
        keys: list[str] = json.loads((file.metadata() or {})[_METADATA])["keys"]
        if len(keys) != file.get_slice(_TENSOR).get_shape()[0]:
            msg = "keys and rows differ in number"
            raise ValueError(msg)
    return keys


def map_shard(path: Path) -> NDArray[Any]:
    """The tensor of a shard without reading it, [N, C, h, w].

    Raises:
        Exception: One of `UNREADABLE`.
    """
    with safe_open(path, framework="numpy") as file:
        file.get_slice(_TENSOR)
    # Layout of the format: header length (8 bytes, little-endian), JSON header, tensor data.
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[_TENSOR]
    mapped = np.memmap(
        path,
        dtype=_TYPES[entry["dtype"]],
        mode="r",
        offset=8 + length + entry["data_offsets"][0],
        shape=tuple(entry["shape"]),
    )
    # A plain array over the same map: the subclass makes each index slower.
    return np.asarray(mapped)


def is_intact(path: Path) -> bool:
    """Whether a shard's bytes still have the hash in its name; reads the whole file."""
    return not shard_fault(path)


def shard_fault(path: Path) -> str:
    """What is wrong with a shard, or nothing; reads the whole file."""
    try:
        keys, latents = shard_keys(path), map_shard(path)
    except UNREADABLE as error:
        return f"cannot be read ({error})"
    if shard_name(shard_bucket(path.name), keys, latents) != path.name:
        return "its content has another checksum than its name"
    if latents.ndim != 4 or not _fits(shard_bucket(path.name), latents.shape):
        return f"latents of shape {list(latents.shape)} do not fit bucket {shard_bucket(path.name)}"
    if not all(np.isfinite(row).all() for row in latents):
        return "a latent is not finite"
    return ""


def _fits(bucket: str, shape: Sequence[int]) -> bool:
    """Whether latents have the bucket's shape, by one factor for both sides."""
    width, _, height = bucket.partition("x")
    return int(width) * shape[2] == int(height) * shape[3]


def _content_hash(keys: Sequence[str], latents: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{latents.dtype.str} {latents.shape}\n".encode())
    digest.update("\n".join(keys).encode())
    digest.update(latents.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def unreadable(path: Path, error: Exception) -> NadirError:
    """The error of a shard that cannot be read."""
    return NadirError(
        f"the latent shard is missing or damaged ({error})",
        where=str(path),
        fix="`nadir latents verify`, then `nadir run`; what is lost is encoded again",
    )
