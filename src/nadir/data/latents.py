"""Latents on disk: a store of immutable shards found by content, and a memory-mapped reader.

A shard is `<W>x<H>-<hash of its content>.safetensors` with one tensor `latents` [N, C, h, w], the
VAE's posterior mean as it comes (no scaling), and its rows' keys in the metadata. Shards are
written whole or not at all and never change, so a killed run leaves nothing to repair.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nadir.data.tables import LATENT_INDEX, read_table
from nadir.ground.errors import NadirError
from nadir.ground.events import say
from nadir.ground.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TENSOR_NAME = "latents"
INDEX_NAME = "index.parquet"
_METADATA_NAME = "nadir"
_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


def latent_key(sha256: str, encoder_hash: str, geometry: str) -> str:
    """Name of a latent: equal exactly when image, encoder and geometry are.

    Args:
        sha256: Hash of the image file's bytes.
        encoder_hash: Hash of the VAE's encoder, and of whatever else shapes its output.
        geometry: Resize and crop in any fixed form.
    """
    return hashlib.sha256(f"{sha256}\n{encoder_hash}\n{geometry}".encode()).hexdigest()


class LatentStore:
    """A folder of shards; whoever holds a row's key can find it.

    Args:
        root: The folder; made when missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def known(self) -> dict[str, tuple[str, int]]:
        """Shard name and row of every key; damaged shards are left out, with a note in the log."""
        rows: dict[str, tuple[str, int]] = {}
        for path in sorted(self.root.glob("*.safetensors")):
            try:
                keys = _shard_keys(path)
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                say(f"latents: ignoring damaged shard {path.name} ({error})")
                continue
            for row, key in enumerate(keys):
                rows.setdefault(key, (path.name, row))
        return rows

    def write_shard(
        self,
        bucket: str,
        keys: Sequence[str],
        latents_NCHW: torch.Tensor,
    ) -> str:
        """Write one shard and return its file name; a shard with this content is kept as it is.

        Args:
            bucket: "WxH" in pixels.
            keys: [N] key of each row, at least one.
            latents_NCHW: [N, C, h, w], fp32 or fp16.

        Raises:
            ValueError: Keys and latents do not match, or another dtype.
        """
        if not keys or len(keys) != len(latents_NCHW):
            msg = f"{len(keys)} keys for {len(latents_NCHW)} latents"
            raise ValueError(msg)
        latents = np.ascontiguousarray(latents_NCHW.detach().cpu().numpy())
        if latents.dtype not in _TYPES.values():
            msg = f"latents are stored as fp32 or fp16, not {latents.dtype}"
            raise ValueError(msg)
        name = f"{bucket}-{_content_hash(keys, latents)[:32]}.safetensors"
        if not (self.root / name).is_file() or not self.is_intact(name):
            # One entry, because safetensors writes several in a random order.
            metadata = {_METADATA_NAME: json.dumps({"bucket": bucket, "keys": list(keys)})}
            with atomic_path(self.root / name) as temporary:
                save_file({TENSOR_NAME: latents}, temporary, metadata=metadata)
        return name

    def is_intact(self, name: str) -> bool:
        """Whether a shard's bytes still have the hash in its name; reads the whole file."""
        try:
            keys = _shard_keys(self.root / name)
            latents = _memory_map(self.root / name)
        except (SafetensorError, OSError, ValueError, KeyError):
            return False
        return name.rpartition("-")[2] == f"{_content_hash(keys, latents)[:32]}.safetensors"

    def adopt(self, folder: Path) -> None:
        """Take over shards that lie in another folder, such as a restored `data/latents`."""
        for path in sorted(folder.glob("*.safetensors")):
            _link(path, self.root / path.name)

    def link_into(self, folder: Path, shards: Iterable[str]) -> None:
        """Make shards appear in another folder, by hard link where the file system can."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(set(shards)):
            _link(self.root / name, folder / name)


class LatentReader:
    """Random access to the latents of an index.

    Args:
        folder: Holds `index.parquet` and the shards it names.

    Attributes:
        index: The `LATENT_INDEX` table as a pandas frame, sorted by sha256.

    Raises:
        NadirError: The index is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = read_table(folder / INDEX_NAME, LATENT_INDEX).to_pandas()
        shards = self.index["shard"].astype("category")
        self._names: list[str] = shards.cat.categories.tolist()
        self._shard: NDArray[np.int64] = shards.cat.codes.to_numpy(np.int64)
        self._row: NDArray[np.int64] = self.index["row"].to_numpy(np.int64)
        self._maps: dict[int, NDArray[Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A pickled memory map would carry the data; worker processes open their own.
        return self.__dict__ | {"_maps": {}}

    def __len__(self) -> int:
        return len(self._row)

    def rows(self, positions: Sequence[int] | NDArray[np.int64]) -> torch.Tensor:
        """Latents [B, C, h, w] in float32, of B rows of the index that share one bucket.

        Raises:
            NadirError: A shard is missing or damaged.
        """
        wanted = np.asarray(positions, dtype=np.int64)
        maps = [self._map(shard) for shard in self._shard[wanted].tolist()]
        shapes = {mapped.shape[1:] for mapped in maps}
        if len(shapes) != 1:
            msg = f"rows of one bucket are wanted, got latents of shapes {sorted(shapes)}"
            raise ValueError(msg)
        latents = np.empty((len(maps), *shapes.pop()), dtype=np.float32)
        # Row by row, so that bytes go from the map to their place in one copy.
        for place, (mapped, row) in enumerate(zip(maps, self._row[wanted].tolist(), strict=True)):
            latents[place] = mapped[row]
        return torch.from_numpy(latents)

    def _map(self, shard: int) -> NDArray[Any]:
        if shard not in self._maps:
            path = self.folder / self._names[shard]
            try:
                self._maps[shard] = _memory_map(path)
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                raise NadirError(
                    f"the latent shard is missing or damaged ({error})",
                    where=str(path),
                    fix="delete it and run `dvc repro encode`; what is lost is encoded again",
                ) from error
        return self._maps[shard]


def _shard_keys(path: Path) -> list[str]:
    # safe_open refuses a file that is shorter or longer than its header says.
    with safe_open(path, framework="numpy") as file:
        keys: list[str] = json.loads((file.metadata() or {})[_METADATA_NAME])["keys"]
        if len(keys) != file.get_slice(TENSOR_NAME).get_shape()[0]:
            msg = "keys and rows differ in number"
            raise ValueError(msg)
    return keys


def _memory_map(path: Path) -> NDArray[Any]:
    """The tensor of a shard without reading it, [N, C, h, w]."""
    with safe_open(path, framework="numpy") as file:
        file.get_slice(TENSOR_NAME)
    # Layout of the format: header length (8 bytes, little-endian), JSON header, tensor data.
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[TENSOR_NAME]
    mapped = np.memmap(
        path,
        dtype=_TYPES[entry["dtype"]],
        mode="r",
        offset=8 + length + entry["data_offsets"][0],
        shape=tuple(entry["shape"]),
    )
    # A plain array over the same map: the subclass makes each index slower.
    return np.asarray(mapped)


def _content_hash(keys: Sequence[str], latents: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{latents.dtype.str} {latents.shape}\n".encode())
    digest.update("\n".join(keys).encode())
    digest.update(latents.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _link(source: Path, target: Path) -> None:
    """Hard-link or, across file systems, copy; a file that is there already stays."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
