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
        if self.train.batch_size % self.compute.processes:
            msg = "train.batch_size must be a multiple of compute.processes"
            raise ValueError(msg)
        parts = self.compute.processes * self.train.gradient_accumulation
        if self.train.batch_multiple and self.train.batch_multiple % parts:
            msg = "train.batch_multiple must be a multiple of compute.processes x "
            msg += "train.gradient_accumulation"
            raise ValueError(msg)
        return self
