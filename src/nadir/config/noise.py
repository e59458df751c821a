"""`noise`: the forward process, shared by training, previews, evaluation and export."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nadir.config.base import Section
from nadir.diffusion.names import BetaSchedule, Prediction


class NoiseParams(Section):
    """The noise schedule and what the network predicts (paper §2.1, §2.2, §2.3)."""

    prediction: Prediction
    """What the network predicts; zero terminal SNR needs `v` or `x0`."""
    zero_terminal_snr: bool
    """Rescale so that the last timestep is pure noise (Lin et al., Algorithm 1)."""
    beta_schedule: BetaSchedule
    """How beta runs from start to end; SDXL uses `scaled_linear`."""
    beta_start: Annotated[float, Field(gt=0, lt=1)]
    """First beta; SDXL 0.00085."""
    beta_end: Annotated[float, Field(gt=0, lt=1)]
    """Last beta before the rescale; SDXL 0.012."""
    timesteps: Annotated[int, Field(ge=2)]
    """Number of training timesteps; SDXL 1000."""
    sigma_shift: Annotated[float, Field(gt=0)]
    """Multiplies every sigma: 2 for a canvas twice as long; 1 changes nothing."""

    @model_validator(mode="after")
    def _terminal_step_is_learnable(self) -> NoiseParams:
        if self.zero_terminal_snr and self.prediction == "epsilon":
            msg = (
                "zero_terminal_snr=true with prediction=epsilon teaches nothing at the last "
                "timestep, where epsilon is the input itself; use prediction: v, or "
                "zero_terminal_snr: false"
            )
            raise ValueError(msg)
        if self.beta_end <= self.beta_start:
            msg = "beta_end must be greater than beta_start"
            raise ValueError(msg)
        return self
