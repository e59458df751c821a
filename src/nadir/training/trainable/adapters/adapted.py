"""A frozen SDXL with adapters, which alone are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nadir.ground.errors import NadirError
from nadir.model.adapter_files.writing import ADAPTER_FOLDER, AdapterFacts, write_adapter
from nadir.model.checkpoint.writing import save_checkpoint
from nadir.model.sdxl.networks import load_text
from nadir.training.trainable.adapters.files import start_from
from nadir.training.trainable.adapters.injection import inject
from nadir.training.trainable.adapters.merging import MergedUNet, merged_layer
from nadir.training.trainable.adapters.places import text_layers, unet_layers
from nadir.training.trainable.layers import factor_of, require_matches

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import UNet2DConditionModel

    from nadir.config.train import TrainParams
    from nadir.config.train_parts import AdapterParams
    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.training.trainable.adapters.injection import AdaptedLayer
    from nadir.training.trainable.text import TrainedText


class Adapters:
    """Adapters in the U-Net and, if wanted, in the text encoders.

    Args:
        network: The base's U-Net, in the precision that it is to be kept in.
        params: `params.yaml` train; its seed draws the adapter's first weights.
        adapter: `params.yaml` train.adapter.
        text: Text encoders that get adapters too; None leaves them as they are.

    Raises:
        NadirError: A pattern names no layer, or the adapter to train on from does not fit.
    """

    def __init__(
        self,
        network: UNet2DConditionModel,
        params: TrainParams,
        adapter: AdapterParams,
        *,
        text: TrainedText | None = None,
    ) -> None:
        self.network = network
        self.text = text
        self._params = params
        self._adapter = adapter
        names = unet_layers(network, convolutions=adapter.convolutions, patterns=params.layers)
        places = [(network, {name: name for name in names})]
        # Part and name of the text encoders' layers.
        self._text_names: dict[str, tuple[str, str]] = {}
        for part, encoder in text.trained().items() if text else ():
            found = text_layers(part, encoder)
            places.append((encoder, {name: _path(part, name) for name in found}))
            self._text_names |= {_path(part, name): (part, name) for name in found}
        known = [path for _, paths in places for path in paths.values()]
        require_matches(adapter.patterns, known, key="train.adapter.patterns")
        require_matches(params.layer_rates, names, key="train.layer_rates")
        self.layers: dict[str, AdaptedLayer] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            for model, paths in places:
                self.layers |= inject(model, paths, adapter)
        if not self.layers:
            raise NadirError(
                "no layer gets an adapter",
                where="params.yaml train.adapter.patterns",
                fix="give some pattern a rank above 0",
            )
        if adapter.source:
            start_from(adapter.source, self.layers, adapter, network.config)

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The adapters' weights, named by layer and part: `….attn1.to_q.lora_down`."""
        return {
            f"{path}.{part}": parameter
            for path, layer in self.layers.items()
            for part, parameter in layer.parts().items()
        }

    def rate_factors(self) -> dict[str, float]:
        """See `Trainable.rate_factors`."""
        return {name: self._rate_factor(name) for name in self.weights()}

    def _rate_factor(self, name: str) -> float:
        if self.text and name.startswith("text_encoder"):
            return self.text.rate_factor(name)
        return factor_of(name, self._params.layer_rates)

    def write(
        self,
        folder: Path,
        *,
        base: Path,
        noise: dict[str, Any],
        scaling: LatentScaling,
        training: dict[str, Any],
    ) -> None:
        """Write the base with the adapter merged into it, and the adapter alone beside that.

        The merge is made with the base's own weights, in float32, so rounding of the frozen ones
        leaves no trace and the training may go on. Of the U-Net one weight is held at a time.
        """
        own = {path: layer for path, layer in self.layers.items() if path not in self._text_names}
        unet = MergedUNet(self.network, own, base)
        encoders, tensors = self._merged_encoders(base)
        save_checkpoint(
            folder,
            base=base,
            unet=unet,
            encoders=encoders,
            noise=noise,
            scaling=scaling,
            training=training | {"adapter": self._adapter.kind},
        )
        facts = AdapterFacts(
            kind=self._adapter.kind,
            rank=self._adapter.rank,
            alpha=self._adapter.alpha,
            convolutions=self._adapter.convolutions,
            config=dict(self.network.config),
            noise=noise,
            training=training,
        )
        write_adapter(folder / ADAPTER_FOLDER, unet.adapter | tensors, facts)

    def _merged_encoders(
        self, base: Path
    ) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]]:
        """The base's text encoders with their adapters in them, and what files hold of these."""
        if not self.text:
            return {}, {}
        encoders, tensors = self.text.of(load_text(base)).trained(), {}
        for path, (part, name) in self._text_names.items():
            if path in self.layers:
                module: Any = encoders[part].get_submodule(name)
                merged, tensors[path] = merged_layer(self.layers[path], module.weight.data)
                module.weight.data = merged
        return encoders, tensors


def _path(part: str, name: str) -> str:
    """What a text encoder's layer is called among those of the whole model."""
    # transformers 5 has dropped the name's first part from the first encoder.
    return f"{part}.text_model.{name.removeprefix('text_model.')}"
