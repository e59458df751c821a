"""`nadir plan`: what a training will take, before it starts."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from nadir.ground.logs.stream import print_document
from nadir.ground.workspace import PARAMS_FILE, expanded, project_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nadir.planning.plan import Plan

_SHOWN_BUCKETS = 12


def plan(
    params: Annotated[
        Path | None,
        typer.Option("--params", help="Another file than params.yaml, such as a preset."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, whose keys stay.")] = False,
) -> None:
    """Show what the training will take: work, memory by part, disk, time, stages to run.

    Memory is counted by running a step on networks without numbers, which takes seconds and little
    memory, whatever the model. Nothing is trained and nothing changes.

    Examples:
      nadir plan
      nadir plan --params presets/sdxl_12gb.yaml
    """
    from nadir.planning.plan import make_plan

    chosen = expanded(params).resolve() if params else None
    root = project_root()
    os.chdir(root)
    made = make_plan(root, chosen or root / PARAMS_FILE)
    stages = None if chosen else _stages(root)
    if as_json:
        print_document({**asdict(made), "stages_to_run": stages})
        return
    sys.stdout.write("".join(f"{line}\n" for line in _lines(made, stages)))


def _stages(root: Path) -> list[str]:
    from nadir.pipeline.status import stages_to_run

    return stages_to_run(root)


def _lines(plan: Plan, stages: list[str] | None) -> Iterator[str]:
    yield from _work(plan)
    yield ""
    yield from _memory(plan)
    yield ""
    facts = [("disk", _disk(plan)), ("time", _time(plan))]
    if stages is not None:
        # ingest lists the source in each run, which tells the rest what is new.
        facts.append(("stages to run", ", ".join(stages) or "none but ingest"))
    for name, text in facts:
        yield f"{name:<14} {text}"
    for warning in plan.warnings:
        yield f"WARNING {warning}"


def _work(plan: Plan) -> Iterator[str]:
    work = plan.work
    if work is None:
        yield "work           not known before tag_statistics and bucket have run on the images"
        return
    yield (
        f"work           {work.images:,} training images in {len(work.buckets)} buckets; "
        f"{plan.steps:,} steps show {work.shown:,} images, {work.shown / work.epoch_images:.1f} "
        "epochs"
    )
    yield ""
    yield f"{'bucket':>14} {'images':>9} {'a batch':>9} {'batches':>9}"
    ordered = sorted(work.buckets, key=lambda bucket: -bucket.images)
    for bucket in ordered[:_SHOWN_BUCKETS]:
        name = f"{bucket.width} x {bucket.height}"
        yield f"{name:>14} {bucket.images:>9,} {bucket.batch:>9,} {bucket.batches:>9,}"
    if rest := ordered[_SHOWN_BUCKETS:]:
        images, batches = sum(b.images for b in rest), sum(b.batches for b in rest)
        yield f"{f'{len(rest)} more':>14} {images:>9,} {'':>9} {batches:>9,}"


def _memory(plan: Plan) -> Iterator[str]:
    memory, micro = plan.memory, plan.micro_batch
    yield (
        f"memory         of each process ({plan.processes} x {plan.device}), "
        f"{micro.images} images of {micro.width} x {micro.height} at once; "
        f"{memory.trained / 1e6:,.1f} M of {memory.parameters / 1e6:,.1f} M parameters trained"
    )
    yield ""
    # On a CPU both are the same memory, and `at the most` adds them up.
    most = max(plan.device_bytes, plan.host_bytes)
    unit, size = ("GiB", 1 << 30) if most >= 1 << 30 else ("MiB", 1 << 20)

    def row(name: str, device: int | None, host: int | None, note: str = "") -> str:
        cells = [f"{count / size:.2f}" if count else "" for count in (device, host)]
        return f"  {name:<22} {cells[0]:>8} {cells[1]:>8}  {note}".rstrip()

    yield f"  {unit:<22} {'device':>8} {'host':>8}"
    for title, parts in memory.moments().items():
        if not parts:
            continue
        yield f"  {title}"
        for part in parts:
            yield row(f"  {part.name}", part.device, part.host, part.note)
        yield row("  in all", sum(p.device for p in parts), sum(p.host for p in parts))
    if memory.copy_bytes:
        note = f"of {memory.copy_held_by}, while it is written"
        yield row("a checkpoint's copy", 0, memory.copy_bytes, note)
    yield row("at the most", plan.device_bytes, plan.host_bytes)
    yield row("there are", plan.device_total, plan.host_total)


def _disk(plan: Plan) -> str:
    from nadir.cli.dataset.latents import readable_size as size

    disk = plan.disk
    latents = "latents not known yet" if disk.latents is None else f"latents {size(disk.latents)}"
    row = plan.memory.text_row_bytes
    kept = ""
    if row:
        known = "" if disk.text_states is None else f"{size(disk.text_states)}, "
        kept = f"text states {known}{size(row)} a caption, "
    return (
        f"{disk.kept_checkpoints} resumable checkpoints of {size(disk.checkpoint)}, the model "
        f"{size(disk.published)}, {kept}{latents}; free are {size(disk.free)}"
    )


def _time(plan: Plan) -> str:
    if plan.step_seconds is None:
        return "not known; `nadir train --check` measures a step of these settings"
    hours = plan.steps * plan.step_seconds / 3600
    total = f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
    return (
        f"{total} for {plan.steps:,} steps of {plan.step_seconds:.2f} s, as the last "
        "`nadir train --check` measured, without previews, validation and checkpoints"
    )
