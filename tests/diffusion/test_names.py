"""The names that parameters choose by are known without torch, once for everybody."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

from nadir.config.evaluate import EvaluateParams
from nadir.config.noise import NoiseParams
from nadir.config.objective import LossWeightParams
from nadir.config.train import TrainParams
from nadir.diffusion import names


def test_names_and_parameters_are_read_without_torch() -> None:
    script = "import sys, nadir.config.params; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_params_offer_exactly_these_names() -> None:
    offered = {
        names.Prediction: NoiseParams.model_fields["prediction"],
        names.LossWeightName: LossWeightParams.model_fields["name"],
        names.SamplerName: EvaluateParams.model_fields["sampler"],
        names.Spacing: EvaluateParams.model_fields["spacing"],
        names.Scaling: TrainParams.model_fields["latent_scaling"],
    }
    for choice, parameter in offered.items():
        assert get_args(parameter.annotation) == get_args(choice)
