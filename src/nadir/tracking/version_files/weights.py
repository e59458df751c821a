"""The files of a version that holds its weights: which there are, and their hashes."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.ground.files import canonical_hash, file_hash, link_or_copy
from nadir.ground.workspace import main_workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nadir.config.register import RegisterParams

# What is rounded to fp16: SDXL's own VAE overflows in it, and is small.
_ROUNDED = ("unet", "text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class Weights:
    """Files of a model on the disk.

    Attributes:
        folder: Where they lie.
        facts: Size and sha256 by path, the hash of the checkpoint they are made of, and their
            precision; JSON.
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def digest(self) -> str:
        """Of all files' content."""
        return canonical_hash(self.facts)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(int(file["bytes"]) for file in self.facts["files"].values())


def wants_copy(params: RegisterParams, *, server: bool) -> bool:
    """Whether a version is to hold its weights.

    Args:
        params: Section `register`.
        server: Whether MLflow is a server.
    """
    return params.weights == "copy" or (params.weights == "auto" and server)


@contextlib.contextmanager
def weights_to_send(checkpoint: Path, md5: str, precision: str, root: Path) -> Iterator[Weights]:
    """The files that a version is to hold; inside the block they stay where they are.

    In the checkpoint's own precision these are its own files. Rounded ones are written beside them
    first, one tensor in memory at a time: half the size of fp32 weights on the disk.

    Args:
        checkpoint: A diffusers folder.
        md5: DVC's hash of it.
        precision: `checkpoint` or `fp16`.
        root: The project's root.
    """
    if precision == "checkpoint":
        yield Weights(checkpoint, _facts(checkpoint, md5, precision))
        return
    work = main_workspace(root) / "work" / "mlflow"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="rounded-") as name:
        folder = work / name
        for path in _files(checkpoint):
            target = folder / path.relative_to(checkpoint)
            if path.suffix == ".safetensors" and path.parent.name in _ROUNDED:
                _round(path, target)
            else:
                link_or_copy(path, target)
        yield Weights(folder, _facts(folder, md5, precision))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _facts(folder: Path, md5: str, precision: str) -> dict[str, Any]:
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_hash(path),
        }
        for path in _files(folder)
    }
    return {"format": 1, "md5": md5, "precision": precision, "files": files}


def _round(source: Path, target: Path) -> None:
    """The same file with floats in fp16."""
    import torch
    from safetensors import safe_open

    from nadir.model.single_file.safetensors_writer import write_safetensors

    with safe_open(source, framework="pt") as opened:
        names = list(opened.keys())

        class Rounded(dict[str, torch.Tensor]):
            def __getitem__(self, name: str) -> torch.Tensor:
                tensor: torch.Tensor = opened.get_tensor(name)
                return tensor.half() if tensor.is_floating_point() else tensor

        tensors = Rounded(dict.fromkeys(names, torch.empty(0)))
        like = {name: tensors[name].to("meta") for name in names}
        write_safetensors(target, tensors, {"format": "pt"}, like=like)
