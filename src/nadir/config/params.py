"""The whole of `params.yaml`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pydantic import Field

from nadir.config.base import Section
from nadir.config.base_model import BaseModelParams
from nadir.config.bucket import BucketParams
from nadir.config.compute import ComputeParams
from nadir.config.decoder import DecoderParams
from nadir.config.encode import EncodeParams
from nadir.config.evaluate import EvaluateParams
from nadir.config.gate import GateParams
from nadir.config.ingest import IngestParams
from nadir.config.latent_statistics import LatentStatisticsParams
from nadir.config.noise import NoiseParams
from nadir.config.register import RegisterParams
from nadir.config.tag_statistics import TagStatisticsParams
from nadir.config.train import TrainParams
from nadir.config.validate import ValidateParams

if TYPE_CHECKING:
    from collections.abc import Callable


class Params(Section):
    """One section per stage, plus `noise` (shared), `gate`, `register` and `compute`."""

    ingest: IngestParams
    validation: ValidateParams = Field(alias="validate")
    tag_statistics: TagStatisticsParams
    bucket: BucketParams
    base_model: BaseModelParams
    encode: EncodeParams
    latent_statistics: LatentStatisticsParams
    decoder: DecoderParams
    noise: NoiseParams
    train: TrainParams
    evaluate: EvaluateParams
    gate: GateParams
    registry: RegisterParams = Field(alias="register")
    compute: ComputeParams


def disagreements(params: Params) -> list[tuple[str, str]]:
    """Faults between sections, each with the key to change.

    No validator of the model, so that they are reported beside the faults inside of sections:
    where a section is missing from `params`, the rules about it are passed over.
    """
    found = []
    for key, text, holds in _RULES:
        with contextlib.suppress(AttributeError):
            if not holds(params):
                found.append((key, text))
    return found


def _parts(params: Params) -> int:
    return params.compute.processes * params.train.gradient_accumulation


_RULES: tuple[tuple[str, str, Callable[[Params], bool]], ...] = (
    (
        "train.batch_size",
        "must be a multiple of compute.processes x train.gradient_accumulation",
        lambda params: params.train.batch_size % _parts(params) == 0,
    ),
    (
        "train.batch_multiple",
        "must be a multiple of compute.processes x train.gradient_accumulation",
        lambda params: (params.train.batch_multiple or 0) % _parts(params) == 0,
    ),
    (
        "train.masked_loss",
        "needs encode.masks: files, alpha or both",
        lambda params: params.train.masked_loss is None or params.encode.masks is not None,
    ),
    (
        "evaluate.steps",
        "must not be more than noise.timesteps",
        lambda params: params.evaluate.steps <= params.noise.timesteps,
    ),
    (
        "gate.cfg_scale",
        "must be null or one of evaluate.cfg_scales",
        lambda params: params.gate.cfg_scale in {None, *params.evaluate.cfg_scales},
    ),
)
