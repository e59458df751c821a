"""Puts adapters into a network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from nadir.ground.errors import NadirError
from nadir.training.trainable.adapters.rotation import OutputRotation
from nadir.training.trainable.layers import matches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nadir.config.train_parts import AdapterKind, AdapterParams

_NAME = "default"  # what peft calls the only adapter
# What peft calls a layer's weights, by what files call them.
_LORA = {"lora_down": "lora_A", "lora_up": "lora_B"}
_LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
_LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_PARTS: dict[AdapterKind, Mapping[str, str]] = {
    "lora": _LORA,
    "dora": _LORA | {"magnitude": "lora_magnitude_vector"},
    "lokr": {name: name for name in _LOKR},
    "loha": {name: name for name in _LOHA},
    "oft": {},
}


@dataclass(frozen=True)
class AdaptedLayer:
    """One layer with an adapter.

    Attributes:
        kind: Of the adapter.
        module: peft's layer around the frozen one, or an `OutputRotation`.
        alpha: As files have it.
    """

    kind: AdapterKind
    module: Any
    alpha: float

    @property
    def weight(self) -> torch.Tensor:
        """The frozen layer's weight."""
        return cast("torch.Tensor", self.module.base_layer.weight)

    def parts(self) -> dict[str, torch.nn.Parameter]:
        """The adapter's weights by the names that files have for them (`lora_down` and others)."""
        if self.kind == "oft":
            return {"oft_blocks": self.module.oft_blocks}
        found = {}
        for name, attribute in _PARTS[self.kind].items():
            held = getattr(self.module, attribute)
            if _NAME in held:
                part = held[_NAME]
                found[name] = part if isinstance(part, torch.nn.Parameter) else part.weight
        return found


def inject(
    network: torch.nn.Module, names: Mapping[str, str], params: AdapterParams
) -> dict[str, AdaptedLayer]:
    """Freeze a network and give some of its layers adapters, drawn from torch's global generator.

    At first they change nothing. Their weights are float32, whatever the network's are.

    Args:
        network: Changed in place.
        names: Its linear and convolution layers by name, and what each is called among those of
            the whole model, which `params.patterns` go by.
        params: Kind, rank and alpha.

    Returns:
        The adapted layers by the name in the whole model, in the order of `names`.

    Raises:
        NadirError: DoRA cannot adapt a layer.
    """
    network.requires_grad_(requires_grad=False)
    sizes = {name: _size(path, params) for name, path in names.items()}
    sizes = {name: size for name, size in sizes.items() if size[0]}
    if not sizes:
        return {}
    if params.kind == "oft":
        for name, (rank, alpha) in sizes.items():
            layer: Any = network.get_submodule(name)
            _replace(network, name, OutputRotation(layer, rank, alpha))
    else:
        _inject_peft(network, params, sizes)
    layers = {}
    for name, (rank, alpha) in sizes.items():
        module: Any = network.get_submodule(name)
        if params.kind == "lokr" and {*module.lokr_w1} & {*module.lokr_w2}:
            # Two whole matrices have no rank, and nobody who reads them scales them.
            module.scaling[_NAME], alpha = 1.0, float(rank)  # noqa: PLW2901
        adapted = AdaptedLayer(params.kind, module, alpha)
        _make_whole(names[name], adapted)
        layers[names[name]] = adapted
    return layers


def _size(name: str, params: AdapterParams) -> tuple[int, float]:
    """Rank and alpha of a layer."""
    for pattern, own in params.patterns.items():
        if matches(name, pattern):
            return own.rank, own.alpha
    return params.rank, params.alpha


def _inject_peft(
    network: torch.nn.Module, params: AdapterParams, sizes: Mapping[str, tuple[int, float]]
) -> None:
    """Put peft's layers in; other ranks than the usual are named layer by layer."""
    # While a trainer loads its libraries, peft is away (`nadir.compute.lean_start`).
    from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model

    shared: dict[str, Any] = {
        "r": params.rank,
        "target_modules": list(sizes),
        "rank_pattern": {re.escape(n): r for n, (r, _) in sizes.items() if r != params.rank},
        "alpha_pattern": {re.escape(n): a for n, (_, a) in sizes.items() if a != params.alpha},
    }
    config: Any
    if params.kind == "lokr":
        config = LoKrConfig(alpha=params.alpha, **shared)
    elif params.kind == "loha":
        config = LoHaConfig(alpha=params.alpha, **shared)
    else:
        config = LoraConfig(lora_alpha=params.alpha, use_dora=params.kind == "dora", **shared)
    inject_adapter_in_model(config, network, _NAME)


@torch.no_grad()
def _make_whole(path: str, layer: AdaptedLayer) -> None:
    """Weights in float32; a magnitude is measured anew, since peft does it in the base's dtype."""
    for name, parameter in layer.parts().items():
        parameter.data = parameter.data.float()
        if name == "magnitude" and not layer.weight.is_meta:
            norm_O = torch.linalg.vector_norm(layer.weight.float().flatten(1), dim=1)
            if not bool(norm_O.all()):
                raise NadirError(
                    f"{path} has an output whose weights are all zero, so it has no direction for "
                    "DoRA to keep",
                    where="params.yaml train.adapter",
                    fix="give it rank 0 in train.adapter.patterns, or use another kind",
                )
            parameter.copy_(norm_O.view_as(parameter))


def _replace(network: torch.nn.Module, name: str, module: torch.nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
