"""The base with the adapter merged into it, one weight after the other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import safe_open

from nadir.model.single_file.safetensors_writer import write_safetensors
from nadir.training.trainable.adapters.files import layer_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diffusers import UNet2DConditionModel

    from nadir.training.trainable.adapters.injection import AdaptedLayer

_WEIGHT = ".weight"


@torch.no_grad()
def merged_layer(
    layer: AdaptedLayer, weight: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A weight with the adapter in it; the layer stays as it is.

    Args:
        layer: With the adapter, on any device, its frozen weight in any precision.
        weight: The base's, in float32 on the CPU; changed.

    Returns:
        The merged weight, and what the adapter's file holds of the layer.
    """
    own = replace(layer, module=copy.deepcopy(layer.module).to("cpu"))
    own.weight.data = weight
    tensors = layer_tensors(own)
    own.module.merge()
    return own.weight.data, tensors


class MergedUNet:
    """Writes a U-Net whose adapter is merged, without holding a second one in memory.

    Args:
        network: With the adapter.
        layers: The adapted ones by name.
        base: The base model's diffusers folder, whose weights are taken, in float32.

    Attributes:
        adapter: What the adapter's file holds of each layer; filled while the U-Net is written.
    """

    def __init__(
        self, network: UNet2DConditionModel, layers: Mapping[str, AdaptedLayer], base: Path
    ) -> None:
        self._network, self._layers = network, layers
        # Whatever else the base's files hold is left out, as by who loads them.
        known = {name.replace(".base_layer.", ".") for name in network.state_dict()}
        self._files: dict[str, Path] = {}
        for file in sorted((base / "unet").glob("*.safetensors")):
            with safe_open(file, framework="pt") as opened:
                self._files |= dict.fromkeys(known.intersection(opened.keys()), file)
        self.adapter: dict[str, dict[str, torch.Tensor]] = {}

    def save_pretrained(self, save_directory: Path, **_: Any) -> None:
        """Write configuration and weights as diffusers does, the weights into one file."""
        self._network.save_config(save_directory)
        hollow = {name: self._hollow(name) for name in self._files}
        path = save_directory / SAFETENSORS_WEIGHTS_NAME
        write_safetensors(path, _Made(self), {"format": "pt"}, like=hollow)

    def names(self) -> Iterator[str]:
        """Of all weights."""
        return iter(self._files)

    def weight(self, name: str) -> torch.Tensor:
        """One weight of the merged U-Net, in float32 on the CPU.

        The base's file is opened anew for each: open, it stays mapped, and what has been read of it
        counts as this process' memory.
        """
        with safe_open(self._files[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name).float().clone()
        path = name.removesuffix(_WEIGHT)
        if name.endswith(_WEIGHT) and path in self._layers:
            tensor, self.adapter[path] = merged_layer(self._layers[path], tensor)
        return tensor

    def _hollow(self, name: str) -> torch.Tensor:
        with safe_open(self._files[name], framework="pt") as file:
            shape = file.get_slice(name).get_shape()
        return torch.empty(shape, dtype=torch.float32, device="meta")


class _Made(Mapping[str, torch.Tensor]):
    """The weights of a merged U-Net, each made when it is asked for."""

    def __init__(self, merged: MergedUNet) -> None:
        self._merged, self._names = merged, tuple(merged.names())

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._merged.weight(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
