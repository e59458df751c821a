"""Stage `train`: trains the U-Net in processes of their own; run again, it resumes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nadir.config.compute import ComputeParams
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.ground import artifacts
from nadir.ground.events import emit, say
from nadir.ground.files import atomic_folder, atomic_path, link_tree, read_json
from nadir.ground.locks import is_held
from nadir.ground.run_record import RunRecord, read_run, write_run
from nadir.ground.workspace import work_folder
from nadir.model.checkpoint.decoder_file import tuned_decoder
from nadir.pipeline.fingerprint import stage_fingerprint
from nadir.pipeline.freshness import Change, change_of_training
from nadir.stages.adapter import require_adapter_as_listed
from nadir.stages.runner import run
from nadir.training.launcher import launch
from nadir.training.reports.reporter import load_attribute
from nadir.training.run_files import (
    CHECKPOINTS,
    LAUNCHER_LOCK,
    LOSS,
    METRICS,
    MODEL,
    OUTPUT,
    RUN,
    is_finished,
)
from nadir.training.stop_request import exclusive

TRACKING_VARIABLE = "NADIR_TRACKING"
"""`module:function` that opens a tracking run, or `none`."""

_DEFAULT_TRACKING = "nadir.tracking.runs.training_run:open_run"
_RUN_ID_VARIABLE = "NADIR_TRAINING_RUN"


def work() -> None:
    """Train, or resume, or publish what an earlier attempt finished.

    Raises:
        NadirError: Training failed or was stopped; its state stays in `work/training`.
    """
    fingerprint = stage_fingerprint("train", Path.cwd())
    folder = work_folder("training") / fingerprint
    with exclusive(folder / LAUNCHER_LOCK):
        if change_of_training(folder) is Change.OUTPUTS:
            say("train: finished before; publishing that result again")
            say(f"train: to train anew, delete {folder}")
        else:
            _drop_finished(folder.parent)
            _train(folder, fingerprint)
        _publish(folder)
    metrics, run_id = read_json(folder / OUTPUT / METRICS), read_run(folder / RUN).run_id
    say(f"train: {metrics['steps']} steps, loss {metrics['loss_last_100']:.4f} over the last 100")
    emit("result", stage="train", **metrics, run_id=run_id)


def _train(folder: Path, fingerprint: str) -> None:
    params = read_section("train", TrainParams)
    compute = read_section("compute", ComputeParams)
    require_adapter_as_listed()
    environment = _open_run(folder, fingerprint)
    run_id = environment.get(_RUN_ID_VARIABLE)
    write_run(folder / RUN, RunRecord(run_id=run_id, fingerprint=fingerprint))
    launch(
        folder,
        fingerprint,
        compute=compute,
        mixed_precision=params.mixed_precision,
        environment=environment,
    )


def _open_run(folder: Path, fingerprint: str) -> dict[str, str]:
    """Variables from the tracking room, loaded by name: the reporter and the run's id."""
    spec = os.environ.get(TRACKING_VARIABLE, _DEFAULT_TRACKING)
    if spec == "none":
        return {}
    opened: dict[str, str] = load_attribute(spec, variable=TRACKING_VARIABLE)(folder, fingerprint)
    return opened


def _publish(folder: Path) -> None:
    """Put the outputs where DVC expects them, then drop what only a resume needs.

    A fine-tuned decoder is put into the checkpoint here, so that another one needs no training.
    The run keeps hard links to them until the next training, so a crash between here and DVC's
    commit costs no training.
    """
    output = folder / OUTPUT
    decoder = tuned_decoder(artifacts.DECODER)
    with atomic_folder(artifacts.CHECKPOINT) as temporary:
        link_tree(output / MODEL, temporary)
        if decoder is not None:
            # PyTorch and diffusers, which this process has no other use for.
            from nadir.model.checkpoint.folding import publish_decoder

            publish_decoder(temporary, artifacts.BASE, decoder)
    for source, target in (
        (output / METRICS, artifacts.TRAINING),
        (output / LOSS, artifacts.LOSS_CURVE),
        (folder / RUN, artifacts.TRAINING_RUN),
    ):
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _drop_finished(runs: Path) -> None:
    """Forget earlier runs that were published; DVC's cache has their outputs."""
    for folder in runs.iterdir():
        if is_finished(folder) and not is_held(folder / LAUNCHER_LOCK):
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Entry point."""
    run("train", work)


if __name__ == "__main__":
    main()
