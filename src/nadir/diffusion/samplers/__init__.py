"""Samplers that start exactly at sigma = infinity and follow diffusers' scheduler protocol."""

from __future__ import annotations

from nadir.diffusion.samplers.base import Sampler, StepOutput
from nadir.diffusion.samplers.make import SAMPLERS, make_sampler

__all__ = ["SAMPLERS", "Sampler", "StepOutput", "make_sampler"]
