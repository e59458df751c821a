"""Between adapted layers and the weights that files hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nadir.ground.errors import NadirError
from nadir.ground.workspace import resolve_local
from nadir.model.adapter_files.reading import read_adapter
from nadir.model.adapter_files.writing import MAGNITUDE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nadir.config.train_parts import AdapterParams
    from nadir.model.adapter_files.reading import ReadAdapter
    from nadir.training.trainable.adapters.injection import AdaptedLayer

_SCALE = "dora_scale"


@torch.no_grad()
def layer_tensors(layer: AdaptedLayer) -> dict[str, torch.Tensor]:
    """A layer's weights as `write_adapter` wants them, before the adapter is merged.

    Of DoRA there is the magnitude m, and `dora_scale` = m |W| / |W + BA|: ComfyUI and Forge divide
    a scale per output by the norm of the base's weight W alone, where DoRA and peft divide by that
    of the sum.
    """
    tensors = {name: part.detach().clone() for name, part in layer.parts().items()}
    tensors["alpha"] = torch.tensor(layer.alpha)
    if MAGNITUDE in tensors:
        magnitude_O = tensors[MAGNITUDE].flatten()
        scale_O = magnitude_O / _norm_ratio(layer)
        tensors[_SCALE] = scale_O.float().view(-1, *[1] * (layer.weight.ndim - 1))
    return tensors


def start_from(
    source: str,
    layers: Mapping[str, AdaptedLayer],
    adapter: AdapterParams,
    config: Mapping[str, Any],
) -> None:
    """Give adapted layers the weights of an adapter's file.

    Args:
        source: `params.yaml` train.adapter.from.
        layers: Changed in place.
        adapter: `params.yaml` train.adapter, for what errors say.
        config: The U-Net's diffusers configuration.

    Raises:
        NadirError: The file is not an adapter of this kind, rank, alpha and these layers.
    """
    found = read_adapter(resolve_local(source), layers, config)
    missing = [path for path in layers if path not in found.layers]
    if missing or found.unknown:
        raise _misfit(
            f"it has nothing for {missing[0]}"
            if missing
            else f"it holds {found.unknown[0]}, which params.yaml gives no adapter",
            found,
        )
    for path, layer in layers.items():
        _copy(path, layer, found, adapter)


@torch.no_grad()
def _copy(path: str, layer: AdaptedLayer, found: ReadAdapter, adapter: AdapterParams) -> None:
    own, theirs = layer.parts(), dict(found.layers[path])
    alpha = theirs.pop("alpha", None)
    scale = theirs.pop(_SCALE, None)
    if scale is not None and scale.shape[0] != layer.weight.shape[0]:
        raise _misfit("its DoRA has magnitudes of inputs, not of outputs", found)
    names = set(own) - ({MAGNITUDE} if scale is not None else set())
    if set(theirs) != names:
        raise _misfit(
            f"{path} has {', '.join(sorted(theirs))} there; {adapter.kind} of rank {adapter.rank} "
            f"has {', '.join(sorted(names))}",
            found,
        )
    for name, tensor in theirs.items():
        if tensor.numel() != own[name].numel():
            shapes = f"{list(tensor.shape)}, params.yaml makes it {list(own[name].shape)}"
            raise _misfit(f"{name} of {path} is {shapes}", found)
    if alpha is not None and float(alpha) != layer.alpha:
        raise _misfit(f"alpha of {path} is {float(alpha):g}, not {layer.alpha:g}", found)
    for name, tensor in theirs.items():
        own[name].copy_(tensor.reshape(own[name].shape))
    if scale is not None:
        magnitude = scale.flatten().to(own[MAGNITUDE])
        if found.dora_of_base:
            magnitude = magnitude * _norm_ratio(layer)
        own[MAGNITUDE].copy_(magnitude.view_as(own[MAGNITUDE]))


def _norm_ratio(layer: AdaptedLayer) -> torch.Tensor:
    """|W + BA| / |W| of each output, in float64."""
    parts, weight = layer.parts(), layer.weight.double().flatten(1)
    up, down = (parts[name].double().flatten(1) for name in ("lora_up", "lora_down"))
    change = up @ down * (layer.alpha / down.shape[0])
    norms = [torch.linalg.vector_norm(w, dim=1) for w in (weight + change, weight)]
    ratio_O: torch.Tensor = norms[0] / norms[1]
    return ratio_O


def _misfit(what: str, found: ReadAdapter) -> NadirError:
    return NadirError(
        f"the adapter does not fit train.adapter: {what}",
        where=str(found.file),
        fix="set kind, rank, alpha, patterns, convolutions and text_encoders of train.adapter, and "
        "train.layers, as it was made",
    )
