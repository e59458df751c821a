"""`evaluate.networks`: trained networks of others that look at pictures; none is downloaded."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from nadir.config.base import Section

# Some programs print it in capitals.
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$"), AfterValidator(str.lower)]


class NetworkParams(Section):
    """One network, by place and content."""

    path: str
    """The file (ONNX), or the folder as transformers writes it; relative to the project."""
    sha256: Sha256
    """Of the file; of a folder's `model.safetensors`."""


class TaggerParams(NetworkParams):
    """A tagger of the WD family, `model.onnx` with its table."""

    tags: str
    """Its table, `selected_tags.csv`."""
    tags_sha256: Sha256
    """Of the table."""
    threshold: Annotated[float, Field(gt=0, lt=1)]
    """Score above which a tag counts as seen; the model's page names its own."""


class CharacterParams(NetworkParams):
    """CCIP: `model_feat.onnx`, and `model_metrics.onnx`, which compares what that gives."""

    differences: str
    """The file that compares."""
    differences_sha256: Sha256
    """Of that file."""


class NetworksParams(Section):
    """Networks by what they are for; null means that what needs one is not run."""

    tagger: TaggerParams | None
    """WD tagger: recall of asked tags, also those of details."""
    clip: NetworkParams | None
    """Folder of a CLIP (such as ViT-L/14 at 336 px): CMMD and CLIP score."""
    dinov2: NetworkParams | None
    """Folder of a DINOv2: KID on its features."""
    character: CharacterParams | None
    """CCIP: whether a character is the one of the real image."""
    aesthetic: NetworkParams | None
    """A score of beauty with one output, such as anime-aesthetic."""
    inception: NetworkParams | None
    """Inception-v3 with 2,048 features as ONNX: FID, from 2,000 images on."""
