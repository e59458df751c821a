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
from nadir.evaluation.protocol import make_plan
from nadir.evaluation.report.page import render_report
from nadir.evaluation.report.samples import sample_sheets, write_samples
from nadir.evaluation.results import EVALUATION, scale_key, to_table
from nadir.evaluation.subject import Subject
from nadir.ground import artifacts
from nadir.ground.events import Progress, emit, say
from nadir.ground.files import file_hash, write_json, write_text
from nadir.heldout.images import load_heldout
from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.sampling.generate import PromptEncodings, text_encoder
from nadir.sampling.prompt_format import PromptFormat
from nadir.stages.runner import run

if TYPE_CHECKING:
    from nadir.model.load import CheckpointInfo

_WEIGHTS = Path("unet/diffusion_pytorch_model.safetensors")


def work() -> None:
    """Write the table, the numbers, the plot data, the report and the samples."""
    params = read_section("evaluate", EvaluateParams)
    info = load_checkpoint_info(artifacts.CHECKPOINT)
    evaluation = _evaluate(params, info)
    checkpoint = file_hash(artifacts.CHECKPOINT / _WEIGHTS)[:16]
    write_table(
        to_table(
            evaluation.rows,
            protocol_id=evaluation.plan.protocol_id,
            checkpoint=checkpoint,
        ),
        artifacts.EVALUATION_TABLE,
        EVALUATION,
    )
    write_json(artifacts.EVALUATION, evaluation.as_json())
    write_text(artifacts.EVALUATION_CURVE, plot_data(evaluation))
    page = render_report(evaluation, params, checkpoint=checkpoint, training=info.training)
    write_text(artifacts.EVALUATION_PAGE, page)
    shutil.rmtree(artifacts.SAMPLES, ignore_errors=True)
    write_samples(artifacts.SAMPLES, sample_sheets(evaluation))
    _print_result(evaluation, params)


def _evaluate(params: EvaluateParams, info: CheckpointInfo) -> Evaluation:
    prompt_format = PromptFormat.of(info.training)
    holdout = load_heldout(
        manifest=artifacts.MANIFEST,
        tags=artifacts.TAGS,
        latents=artifacts.LATENTS,
        captions=prompt_format.captions,
        limit=max(params.loss_images, params.holdout_prompts),
    )
    plan = make_plan(
        params,
        holdout=[(image.id, image.caption) for image in holdout],
        noise=info.noise,
        token_chunks=prompt_format.captions.token_chunks,
        original_size=prompt_format.original_size,
    )
    device = pick_device(read_section("compute", ComputeParams).device)
    pipeline = load_pipeline(
        artifacts.CHECKPOINT, sampler=params.sampler, spacing=params.spacing, device=device
    )
    progress = Progress("evaluate", plan.images, "images")
    subject = Subject(
        pipeline=pipeline,
        plan=plan,
        params=params,
        scaling=info.latent_scaling,
        encodings=PromptEncodings(
            text_encoder(pipeline),
            prompt_format.captions,
            original_size=plan.original_size,
            tags=prompt_format.tags,
            aliases=prompt_format.aliases,
            as_written=[image.caption for image in holdout],
        ),
        holdout=holdout,
        known=known_tags(artifacts.TAGS),
    )
    return evaluate(subject, advance=progress.advance)


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
