"""The whole of `params.yaml`."""

from __future__ import annotations

from pydantic import Field, model_validator

from nadir.config.base import Section
from nadir.config.base_model import BaseModelParams
from nadir.config.bucket import BucketParams
from nadir.config.compute import ComputeParams
from nadir.config.encode import EncodeParams
from nadir.config.evaluate import EvaluateParams
from nadir.config.ingest import IngestParams
from nadir.config.latent_statistics import LatentStatisticsParams
from nadir.config.noise import NoiseParams
from nadir.config.register import RegisterParams
from nadir.config.tag_statistics import TagStatisticsParams
from nadir.config.train import TrainParams
from nadir.config.validate import ValidateParams


class Params(Section):
    """One section per stage, plus `noise` (shared), `register` and `compute`."""

    ingest: IngestParams
    validation: ValidateParams = Field(alias="validate")
    tag_statistics: TagStatisticsParams
    bucket: BucketParams
    base_model: BaseModelParams
    encode: EncodeParams
    latent_statistics: LatentStatisticsParams
    noise: NoiseParams
    train: TrainParams
    evaluate: EvaluateParams
    registry: RegisterParams = Field(alias="register")
    compute: ComputeParams

    @model_validator(mode="after")
    def _sections_agree(self) -> Params:
        parts = self.compute.processes * self.train.gradient_accumulation
        faults = {
            "train.batch_size must be a multiple of compute.processes x "
            "train.gradient_accumulation": self.train.batch_size % parts,
            "train.batch_multiple must be a multiple of compute.processes x "
            "train.gradient_accumulation": (self.train.batch_multiple or 0) % parts,
            "evaluate.steps must not be more than noise.timesteps": self.evaluate.steps
            > self.noise.timesteps,
        }
        if any(faults.values()):
            raise ValueError("; ".join(text for text, wrong in faults.items() if wrong))
        return self
