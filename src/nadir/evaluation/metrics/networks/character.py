"""CCIP: whether a drawn character is the one of the real image behind the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import PromptMean
from nadir.evaluation.metrics.networks.base import not_given
from nadir.evaluation.networks.pictures import CLIP_MEAN, CLIP_STD, normalised, resized
from nadir.evaluation.report.sections import CONTENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.networks.onnx_file import OnnxFile
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn

_USUAL_SIDE = 384


class CharacterDifference(PromptMean):
    """CCIP's difference between a drawn image and the held-out one whose caption it follows.

    Only captions with a tag of class `character` count. Features are of the whole picture at 384
    px in CLIP's units; the second file compares them, each with each.
    """

    name = "character_difference"
    title = "Difference of characters"
    unit = "CCIP difference, 0 to 1"
    direction = "lower"
    meaning = (
        "How unlike the asked character the drawn one is, by CCIP. Lower is better; the network's "
        "page names the value below which two pictures show one character (about 0.18)."
    )
    needs = frozenset({"references"})
    section = CONTENT

    def prepare(self, subject: Subject) -> None:
        """Read both files, and try them."""
        self._networks = subject.networks.character
        self._real: dict[str, NDArray[np.float32]] = {}
        self._asked = {
            f"holdout_{image.id}"
            for image in subject.holdout
            if any(kind == "character" for _, kind in image.tags)
        }
        if self._networks is not None:
            self._side = self._networks[0].picture_side("NCHW", usual=_USUAL_SIDE)
            white = self._features(self._networks[0], np.ones((1, 3, 8, 8), dtype=np.float32))
            _compared(self._networks[1], white, white)

    def not_run(self, subject: Subject) -> str | None:
        """Without weights, or without a held-out caption that asks for a character."""
        if absent := not_given(subject, "character"):
            return absent
        prompts = {prompt.id for prompt in subject.plan.of_kind("holdout")}
        if prompts and not prompts & self._asked:
            return "no held-out caption asks for a character; raise evaluate.holdout_prompts"
        return None

    def see_reference(self, prompt_id: str, image_CHW: NDArray[np.float32]) -> None:
        """Keep the features of the real image."""
        if self._networks is not None and prompt_id in self._asked:
            self._real[prompt_id] = self._features(self._networks[0], image_CHW[None])

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """The difference of each image."""
        real = self._real.get(drawn.prompt.id)
        if real is None or self._networks is None:
            return None
        features, differences = self._networks
        return _compared(differences, real, self._features(features, drawn.images_NCHW))

    def _features(self, network: OnnxFile, images_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        pixels = normalised(resized(images_NCHW, self._side), CLIP_MEAN, CLIP_STD)
        found: NDArray[np.float32] = network(pixels.numpy())
        return found


def _compared(
    network: OnnxFile, real_1F: NDArray[np.float32], drawn_NF: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Difference of each of some features from one [N]."""
    both = np.concatenate([real_1F, drawn_NF])
    matrix = network(both, wide=len(both))
    return matrix[0, 1:].astype(np.float64)
