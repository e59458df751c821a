"""Stage `evaluate`: draw, measure and report across CFG scales."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.compute.devices import pick_device
from nadir.config.compute import ComputeParams
from nadir.config.evaluate import EvaluateParams
from nadir.config.reader import read_section
from nadir.data.tables import write_table
from nadir.evaluation.evaluator import Evaluation, evaluate
from nadir.evaluation.known_tags import known_tags
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.protocol import make_plan
from nadir.evaluation.report.origin import read_origin
from nadir.evaluation.report.page import render_report
from nadir.evaluation.report.samples import sample_sheets, write_samples
from nadir.evaluation.results import EVALUATION, scale_key, to_table
from nadir.evaluation.subject import RealLatents, Subject
from nadir.ground import artifacts
from nadir.ground.events import Progress, emit, say
from nadir.ground.files import canonical_hash, file_hash, write_json, write_text
from nadir.ground.workspace import work_folder
from nadir.heldout.images import load_heldout
from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.sampling.kept_latents import KeptLatents
from nadir.sampling.prompt_encodings import PromptEncodings
from nadir.sampling.prompt_format import PromptFormat
from nadir.stages.runner import run

if TYPE_CHECKING:
    from nadir.heldout.images import HeldOutImage

WEIGHTS = Path("unet/diffusion_pytorch_model.safetensors")
# Whose code shapes what is drawn; latents that other code drew are not gone on with.
_DRAWING_ROOMS = ("diffusion", "model", "sampling")
_FILES = {
    "manifest": artifacts.MANIFEST,
    "tags": artifacts.TAGS,
    "latents": artifacts.LATENTS,
}


def work() -> None:
    """Write the table, the numbers, the plot data, the report and the samples."""
    params = read_section("evaluate", EvaluateParams)
    info = load_checkpoint_info(artifacts.CHECKPOINT)
    evaluation, hashes = evaluate_model(artifacts.CHECKPOINT, params)
    checkpoint = hashes[WEIGHTS.as_posix()][:16]
    write_evaluation(evaluation, checkpoint=checkpoint, table=artifacts.EVALUATION_TABLE)
    write_json(artifacts.EVALUATION, evaluation.as_json())
    write_text(artifacts.EVALUATION_CURVE, plot_data(evaluation))
    page = render_report(
        evaluation,
        params,
        checkpoint=checkpoint,
        training=info.training,
        origin=read_origin(info.training, **_FILES, curve=artifacts.LOSS_CURVE),
    )
    write_text(artifacts.EVALUATION_PAGE, page)
    shutil.rmtree(artifacts.SAMPLES, ignore_errors=True)
    write_samples(artifacts.SAMPLES, sample_sheets(evaluation))
    shutil.rmtree(work_folder("evaluating"), ignore_errors=True)
    _print_result(evaluation, params)


def write_evaluation(evaluation: Evaluation, *, checkpoint: str, table: Path) -> None:
    """Write every value that was measured.

    Args:
        evaluation: What was measured.
        checkpoint: Hash of the weights.
        table: File to write.
    """
    rows = to_table(evaluation.rows, protocol_id=evaluation.plan.protocol_id, checkpoint=checkpoint)
    write_table(rows, table, EVALUATION)


def evaluate_model(
    folder: Path, params: EvaluateParams, *, plan_of: Path | None = None
) -> tuple[Evaluation, dict[str, str]]:
    """Evaluate a checkpoint on the project's data; killed, it goes on where it was.

    Args:
        folder: The checkpoint.
        params: Section `evaluate`.
        plan_of: As for `subject_of`.

    Returns:
        What was measured, and the hash of each file of the checkpoint.
    """
    subject = subject_of(folder, params, plan_of=plan_of)
    progress = Progress("evaluate", subject.plan.images, "images")
    hashes, device = _hashes(folder), str(subject.pipeline.unet.device)
    key = canonical_hash([hashes, _code(), device, subject.plan.protocol_id, params.batch_size])
    kept = KeptLatents(work_folder("evaluating") / key[:32])
    return evaluate(subject, advance=progress.advance, kept=kept), hashes


def subject_of(folder: Path, params: EvaluateParams, *, plan_of: Path | None = None) -> Subject:
    """A checkpoint with the plan to draw by and the project's data, all loaded.

    Args:
        folder: The checkpoint.
        params: Section `evaluate`.
        plan_of: The checkpoint whose form of captions and unit of errors the plan has, when
            another is to be compared with it; None is the checkpoint itself.
    """
    info = load_checkpoint_info(folder)
    asking = info if plan_of is None else load_checkpoint_info(plan_of)
    own, common = PromptFormat.of(info.training), PromptFormat.of(asking.training)
    holdout = _holdout(params, own)
    captions = holdout if own == common else _holdout(params, common)
    channels = holdout[0].latents_CHW.shape[0] if holdout else 0
    plan = make_plan(
        params,
        holdout=[(image.id, image.caption) for image in captions],
        noise=info.noise,
        token_chunks=own.captions.token_chunks,
        original_size=own.original_size,
        loss_images=[f"{i.sha256}:{'x'.join(map(str, i.latents_CHW.shape))}" for i in holdout],
        latent_std=asking.latent_scaling.channel_stds(channels) if holdout else (),
        metrics=[metric.name for metric in METRICS],
    )
    device = pick_device(read_section("compute", ComputeParams).device)
    pipeline = load_pipeline(folder, sampler=params.sampler, spacing=params.spacing, device=device)
    return Subject(
        pipeline=pipeline,
        plan=plan,
        params=params,
        scaling=info.latent_scaling,
        encodings=PromptEncodings.of(
            pipeline,
            own,
            original_size=plan.original_size,
            as_written=[image.caption for image in holdout],
        ),
        holdout=holdout,
        known=known_tags(artifacts.TAGS),
        real_latents=RealLatents.load(**_FILES),
    )


def _hashes(folder: Path) -> dict[str, str]:
    """Of each file of a checkpoint, by its path in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def _holdout(params: EvaluateParams, prompt_format: PromptFormat) -> list[HeldOutImage]:
    return load_heldout(
        **_FILES,
        captions=prompt_format.captions,
        limit=max(params.loss_images, params.holdout_prompts),
    )


def _code() -> dict[str, str]:
    package = Path(__file__).parents[1]
    files = [path for room in _DRAWING_ROOMS for path in sorted((package / room).rglob("*.py"))]
    return {path.relative_to(package).as_posix(): file_hash(path) for path in files}


def plot_data(evaluation: Evaluation) -> str:
    """CSV with a row per scale and a column per metric, empty where it could not be measured."""
    names = list(dict.fromkeys(name for row in evaluation.scales.values() for name in row))
    lines = [",".join(["cfg_scale", *names])]
    for scale in evaluation.plan.cfg_scales:
        row = evaluation.scales[scale_key(scale)]
        cells = (f"{row[name]:.6g}" if name in row else "" for name in names)
        lines.append(",".join([scale_key(scale), *cells]))
    return "\n".join(lines) + "\n"


def _print_result(evaluation: Evaluation, params: EvaluateParams) -> None:
    decision = evaluation.scales[scale_key(params.decision_cfg)]
    # One number fits the line: that of the paper's own check.
    error = decision.get("brightness_error")
    shown = "not measured" if error is None else f"{error:.3f}"
    say(
        f"evaluate: {evaluation.health.images} images, {evaluation.health.nonfinite} broken; "
        f"brightness error {shown} at CFG {params.decision_cfg:g}; "
        f"verdict {evaluation.gate.verdict} ({evaluation.gate.reason})"
    )
    doubts = [check for check in evaluation.gate.checks if check.state == "unresolved"]
    for check in doubts:
        say(f"evaluate: {check.name.replace('_', ' ')}: {check.meaning}")
    result: dict[str, Any] = {
        "verdict": evaluation.gate.verdict,
        "images": evaluation.health.images,
        "nonfinite": evaluation.health.nonfinite,
        "cfg_scales": evaluation.scales,
        **evaluation.checkpoint_json(),
        "report": str(artifacts.EVALUATION_PAGE),
    }
    emit("result", stage="evaluate", **result)


def main() -> None:
    """Entry point."""
    run("evaluate", work)


if __name__ == "__main__":
    main()
