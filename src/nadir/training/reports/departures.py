"""What a run does otherwise than the paper (arXiv 2409.15997), in its log and its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nadir.config.noise import NoiseParams
    from nadir.config.objective import LossParams, LossWeightParams, TimestepParams
    from nadir.config.train import TrainParams
    from nadir.training.run import Run


def departures(train: TrainParams, noise: NoiseParams) -> list[str]:
    """Every setting of the objective that is not the paper's, in a few words each.

    `snr_plus_one` counts as the paper's MinSNR: its form for v is not published.
    """
    found = [*_of_noise(noise), *_of_timesteps(train.timesteps), *_of_loss(train.loss)]
    found += _of_weight(train.loss_weight)
    if not train.tag_weighting:
        found.append("no tag weighting")
    if train.latent_scaling != "per_channel":
        found.append(f"{train.latent_scaling} latent scaling")
    if train.masked_loss:
        found.append(f"masked loss (unmasked {train.masked_loss.unmasked:g})")
    if train.regularisation.tags or train.regularisation.folders:
        found.append("regularisation images")
    return found


def objective_notes(run: Run) -> tuple[list[str], dict[str, Any]]:
    """Lines for the log and facts for the record: departures, and what never gets trained."""
    found = departures(run.train, run.noise)
    lines = [f"train: departs from the paper: {'; '.join(found)}"] if found else []
    if warning := _terminal_warning(run):
        lines.append(warning)
    return lines, {"departures": "; ".join(found) or "none"}


def mean_density(run: Run) -> torch.Tensor:
    """[T] float64: how often each timestep is drawn over all buckets; 1 where all are alike."""
    timesteps, samples = run.loader.timesteps, run.samples
    schedule = run.objective.schedule
    if timesteps.is_uniform:
        return torch.ones(schedule.num_timesteps, dtype=torch.float64)
    total = torch.zeros(schedule.num_timesteps, dtype=torch.float64)
    for rows, share in zip(samples.buckets, samples.visit_shares().tolist(), strict=True):
        total += share * timesteps.probabilities(samples.area_px(rows))
    return total * schedule.num_timesteps


def _terminal_warning(run: Run) -> str | None:
    """Zero terminal SNR whose last timestep the run does not expect to draw at all."""
    schedule = run.objective.schedule
    share = float(mean_density(run)[-1]) / schedule.num_timesteps
    draws = share * run.loader.images_before(run.train.steps)
    if not schedule.is_zero_terminal or run.loader.timesteps.is_uniform or draws >= 1:
        return None
    return (
        f"WARNING train: train.timesteps draws the terminal timestep {draws:.2g} times in the "
        "whole run, so the step from pure noise, which sets the brightness, is not trained; "
        "raise mean (or alpha, or max), or use uniform"
    )


def _of_noise(noise: NoiseParams) -> Iterator[str]:
    if noise.prediction != "v":
        yield f"{noise.prediction}-prediction"
    if not noise.zero_terminal_snr:
        yield "no zero terminal SNR"
    if noise.sigma_shift != 1:
        yield f"sigmas times {noise.sigma_shift:g}"


def _of_timesteps(timesteps: TimestepParams) -> Iterator[str]:
    if timesteps.distribution == "logit_normal":
        yield f"logit-normal timesteps (mean {timesteps.mean:g}, std {timesteps.std:g})"
    if timesteps.distribution == "beta":
        yield f"beta timesteps ({timesteps.alpha:g}, {timesteps.beta:g})"
    if (timesteps.min, timesteps.max) != (0, 1):
        yield f"timesteps from {timesteps.min:g} to {timesteps.max:g} of all"
    if timesteps.shift is not None:
        yield f"timesteps shifted by resolution (base area {timesteps.shift} px)"


def _of_loss(loss: LossParams) -> Iterator[str]:
    if loss.kind != "mse":
        yield f"{loss.kind} loss (delta {loss.delta:g}, {loss.schedule})"


def _of_weight(weight: LossWeightParams) -> Iterator[str]:
    if not (weight.name.startswith("min_snr") or weight.name == "snr_plus_one"):
        yield f"loss weight {weight.name}"
    elif weight.gamma != 5:
        yield f"MinSNR gamma {weight.gamma:g}"
    if weight.learned:
        yield "learned loss weight"


def drawn_weights(run: Run) -> torch.Tensor:
    """[T] float64: the loss weight of every timestep times how often it is drawn."""
    return run.objective.weights_T * mean_density(run)
