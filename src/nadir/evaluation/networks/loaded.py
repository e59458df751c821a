"""The networks that the parameters name, each read once for all metrics."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from nadir.evaluation.networks.files import checked_file, checked_folder
from nadir.evaluation.networks.onnx_file import OnnxFile
from nadir.evaluation.networks.tagger import Tagger

if TYPE_CHECKING:
    import torch

    from nadir.config.networks import NetworksParams
    from nadir.evaluation.networks.transformers_folder import Clip, Dinov2


class Networks:
    """Networks by what they are for; None where the parameters name none.

    Args:
        params: Section `evaluate.networks`.
        device: Where those of transformers run; ONNX files run on the CPU.
    """

    def __init__(self, params: NetworksParams, *, device: torch.device) -> None:
        self._params, self._device = params, device

    @cached_property
    def tagger(self) -> Tagger | None:
        """A WD tagger."""
        given = self._params.tagger
        if given is None:
            return None
        table = checked_file(given.tags, given.tags_sha256, key="tagger")
        return Tagger(self._onnx("tagger"), table, threshold=given.threshold)

    @cached_property
    def clip(self) -> Clip | None:
        """A CLIP."""
        given = self._params.clip
        if given is None:
            return None
        from nadir.evaluation.networks.transformers_folder import Clip

        return Clip(checked_folder(given.path, given.sha256, key="clip"), self._device)

    @cached_property
    def dinov2(self) -> Dinov2 | None:
        """A DINOv2."""
        given = self._params.dinov2
        if given is None:
            return None
        from nadir.evaluation.networks.transformers_folder import Dinov2

        return Dinov2(checked_folder(given.path, given.sha256, key="dinov2"), self._device)

    @cached_property
    def character(self) -> tuple[OnnxFile, OnnxFile] | None:
        """CCIP: what gives features, and what compares them."""
        given = self._params.character
        if given is None:
            return None
        place = checked_file(given.differences, given.differences_sha256, key="character")
        return self._onnx("character"), OnnxFile(place, key="character")

    @cached_property
    def aesthetic(self) -> OnnxFile | None:
        """A score of beauty."""
        return self._onnx("aesthetic") if self._params.aesthetic else None

    @cached_property
    def inception(self) -> OnnxFile | None:
        """Inception-v3."""
        return self._onnx("inception") if self._params.inception else None

    def _onnx(self, key: str) -> OnnxFile:
        given = getattr(self._params, key)
        return OnnxFile(checked_file(given.path, given.sha256, key=key), key=key)
