"""One training process; `nadir.training.launcher` starts as many as wanted."""

from __future__ import annotations

import argparse
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    set_seed,
)
from transformers.utils.logging import disable_progress_bar

from nadir.compute.child_fault import faults_left_in, leave_fault
from nadir.compute.lean_start import loaded
from nadir.compute.parent_death import die_with_parent
from nadir.config.compute import ComputeParams
from nadir.config.noise import NoiseParams
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.data.latents.masks import MaskReader
from nadir.data.latents.store import LatentReader
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground import artifacts
from nadir.ground.events import say
from nadir.ground.logs.setup import begin
from nadir.model.checkpoint.decoder_file import tuned_decoder
from nadir.model.checkpoint.decoder_weights import put_decoder
from nadir.model.sdxl.networks import load_vae
from nadir.training.check import run_check
from nadir.training.loader import BatchLoader
from nadir.training.losses.objective import Objective
from nadir.training.losses.timesteps import TimestepSampler
from nadir.training.reports.metrics import with_metrics
from nadir.training.reports.previews import Previews
from nadir.training.reports.reporter import NoReporter, TrainingReporter, load_reporter
from nadir.training.run import Run, latent_scaling
from nadir.training.run_files import TRAINER_LOCK
from nadir.training.start.making import Sources
from nadir.training.start.opening import open_data
from nadir.training.stop_request import (
    StopRequest,
    ends_at_a_stop,
    exclusive,
    stopped_early,
)
from nadir.training.text_states.encoders import load_text_encoders, warn_of_cut_captions
from nadir.training.text_states.reading import load_states
from nadir.training.train_step import TrainStep
from nadir.training.trainable import make_trainable
from nadir.training.trainer import Trainer
from nadir.training.validation.validator import NO_HOLDOUT, load_validator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.samples import Samples
    from nadir.training.validation.validator import Validator

_PATIENCE = timedelta(hours=2)
_SOURCES = Sources(artifacts.MANIFEST, artifacts.TAGS, artifacts.TAG_RULES, artifacts.LATENTS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train in the project at the working directory; exits 1 on a fault or a requested stop.

    A fault that the user can act on is left for the launcher (`nadir.compute.child_fault`).
    """
    loaded()
    parser = argparse.ArgumentParser(description="one training process")
    parser.add_argument("--work", type=Path, required=True, help="the run's own folder")
    parser.add_argument("--fingerprint", required=True, help="of code, data and params")
    parser.add_argument("--check", action="store_true", help="only `nadir train --check`")
    options = parser.parse_args(arguments)
    begin(stage="train")
    disable_progress_bar()
    if _is_one_of_several():
        die_with_parent()
    with StopRequest(is_last=True) as stop:
        train_params = read_section("train", TrainParams)
        # It waits for all other processes, for ever if one never comes.
        with ends_at_a_stop(stop, lambda: leave_fault(options.work, stopped_early())):
            accelerator = make_accelerator(train_params)
        try:
            with (
                faults_left_in(options.work, where="train"),
                exclusive(options.work / TRAINER_LOCK, when=accelerator.is_main_process),
            ):
                start = check_training if options.check else run_training
                start(options.work, options.fingerprint, train_params, accelerator, stop)
        finally:
            accelerator.end_training()


def make_accelerator(params: TrainParams) -> Accelerator:
    """Accelerate's view of this process, with the run's precision and accumulation."""
    on_cpu = read_section("compute", ComputeParams).device == "cpu"
    has_gpu = torch.cuda.is_available() or torch.xpu.is_available()
    return Accelerator(
        # Without this, several processes without a GPU would not find each other.
        cpu=on_cpu or (_is_one_of_several() and not has_gpu),
        mixed_precision=params.mixed_precision,
        gradient_accumulation_steps=params.gradient_accumulation,
        # The others wait while the first process writes a checkpoint.
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=_PATIENCE),
            # Else each process holds all gradients twice, 10 GB of SDXL's.
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
        ],
    )


def _is_one_of_several() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def run_training(
    work: Path,
    fingerprint: str,
    train: TrainParams,
    accelerator: Accelerator,
    stop: StopRequest,
) -> None:
    """Load everything, train, and tell the tracker how it ended.

    Raises:
        NadirError: A fault in the inputs, a diverged loss, or a requested stop.
    """
    reporter = with_metrics(load_reporter()) if accelerator.is_main_process else NoReporter()
    try:
        set_seed(train.seed)
        run = prepare_run(work, fingerprint, train, accelerator, reporter, stop=stop)
        trainable = make_trainable(train, artifacts.BASE, run.text)
        train_step = TrainStep(trainable, train, run.objective, accelerator)
        Trainer(run, train_step, accelerator, stop).train()
    except BaseException:
        reporter.finished("KILLED" if stop.requested else "FAILED")
        raise
    reporter.finished("FINISHED")


def check_training(
    work: Path,
    fingerprint: str,
    train: TrainParams,
    accelerator: Accelerator,
    stop: StopRequest,
) -> None:
    """`nadir train --check`: two steps, a save, a resume; without previews and tracker.

    Raises:
        NadirError: A fault in the inputs, or the training would not run as it should.
    """
    set_seed(train.seed)
    off = train.validation.model_copy(update={"every": 0})
    plain = train.model_copy(update={"preview_every": 0, "validation": off})
    run = prepare_run(work, fingerprint, plain, accelerator, NoReporter(), stop=stop, steps=2)
    run_check(
        run,
        lambda: TrainStep(
            make_trainable(train, artifacts.BASE, run.text), train, run.objective, accelerator
        ),
        accelerator,
        stop,
    )


def prepare_run(
    work: Path,
    fingerprint: str,
    train: TrainParams,
    accelerator: Accelerator,
    reporter: TrainingReporter,
    *,
    stop: StopRequest | None = None,
    steps: int | None = None,
) -> Run:
    """Load data and frozen models of the project at the working directory.

    Text states that `train.text_cache` asks for are made here, of the first `steps` steps or of
    all; a requested `stop` ends that with a NadirError.
    """
    device = accelerator.device
    noise = read_section("noise", NoiseParams)
    schedule = NoiseSchedule.from_settings(**noise.model_dump())
    scaling = latent_scaling(train.latent_scaling)
    samples, reader, masks = _open_dataset(train)
    text = load_text_encoders(train, device)
    base = artifacts.BASE
    states = load_states(
        samples, train, base=base, text=text, accelerator=accelerator, steps=steps, stop=stop
    )
    validator = previews = None
    if accelerator.is_main_process:
        warn_of_cut_captions(samples, text, train.caption)
        validator = _validator(train, noise, schedule, scaling, text)
        previews = _previews(train, noise, schedule, scaling, text, samples, reader)
    loader = BatchLoader(
        samples,
        reader=reader,
        scaling=scaling,
        text=text,
        params=train,
        timesteps=TimestepSampler(train.timesteps, schedule),
        device=device,
        states=states,
        masks=masks,
    )
    return Run(
        work=work,
        data=artifacts.MANIFEST.parent,
        base=base,
        fingerprint=fingerprint,
        train=train,
        noise=noise,
        objective=Objective(schedule, noise, train.loss_weight, loss=train.loss, device=device),
        samples=samples,
        loader=loader,
        scaling=scaling,
        text=text,
        previews=previews,
        reporter=reporter,
        validator=validator,
    )


def _open_dataset(train: TrainParams) -> tuple[Samples, LatentReader, MaskReader | None]:
    data = open_data(_SOURCES, train)
    masks = MaskReader(artifacts.LATENTS, data.masks) if data.masks else None
    return data.samples, LatentReader(artifacts.LATENTS, data.latents), masks


def _validator(
    train: TrainParams,
    noise: NoiseParams,
    schedule: NoiseSchedule,
    scaling: LatentScaling,
    text: TextEncoder,
) -> Validator | None:
    if not train.validation.every:
        return None
    validator = load_validator(
        artifacts.MANIFEST.parent,
        train,
        noise=noise,
        schedule=schedule,
        scaling=scaling,
        text=text,
    )
    if validator is None:
        say(f"train: {NO_HOLDOUT}")
    return validator


def _previews(
    train: TrainParams,
    noise: NoiseParams,
    schedule: NoiseSchedule,
    scaling: LatentScaling,
    text: TextEncoder,
    samples: Samples,
    reader: LatentReader,
) -> Previews | None:
    if not train.preview_every:
        return None
    vae = load_vae(artifacts.BASE)
    put_decoder(vae, tuned_decoder(artifacts.DECODER))
    return Previews(
        train,
        samples,
        reader=reader,
        text=text,
        vae=vae,
        scaling=scaling,
        schedule=schedule,
        prediction=noise.prediction,
    )


if __name__ == "__main__":
    main()
