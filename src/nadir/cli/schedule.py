"""`nadir schedule`: the noise schedule and the steps a sampler takes on it."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nadir.ground.errors import NadirError
from nadir.ground.logs.stream import print_document

if TYPE_CHECKING:
    from nadir.config.noise import NoiseParams
    from nadir.config.objective import LossWeightParams
    from nadir.diffusion.resolution import CanvasAdvice
    from nadir.diffusion.schedule import NoiseSchedule


def schedule(
    params: Annotated[
        Path, typer.Option("--params", help="Parameter file.", metavar="FILE")
    ] = Path("params.yaml"),
    steps: Annotated[
        int | None, typer.Option(help="Sampling steps; else evaluate.steps.", metavar="N")
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(help="native, trailing or simple; else evaluate.spacing.", metavar="S"),
    ] = None,
    canvas: Annotated[
        str | None,
        typer.Option(help="Judge the steps for a canvas in pixels.", metavar="WxH"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw to a .png, .svg or .pdf file.", metavar="FILE")
    ] = None,
) -> None:
    """Print timestep, sigma, SNR and loss weight of every sampling step.

    Examples:
      nadir schedule --steps 28 --spacing native
      nadir schedule --canvas 1536x1536
      nadir schedule --json
    """
    if json and plot:
        raise NadirError("--json and --plot exclude each other", fix="run the command twice")
    size = _canvas_size(canvas)
    report = _report(params, steps, spacing, size)
    if json:
        print_document(report, allow_nan=False)
    elif plot:
        from nadir.cli.schedule_plot import draw

        draw(report, plot)
        sys.stdout.write(f"wrote {plot}\n")
    else:
        _print(report)


def _canvas_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)\s*[xX×]\s*(\d+)", text.strip())
    if not match:
        raise NadirError(
            f"{text!r} is not a canvas size",
            where="--canvas",
            fix="write WIDTHxHEIGHT, e.g. 1024x1536",
        )
    return int(match[1]), int(match[2])


def _report(
    path: Path, steps: int | None, spacing: str | None, size: tuple[int, int] | None
) -> dict[str, Any]:
    """What `--json` prints; docs/diffusion.md describes every key."""
    from nadir.config.evaluate import EvaluateParams
    from nadir.config.noise import NoiseParams
    from nadir.config.reader import read_section
    from nadir.config.train import TrainParams
    from nadir.diffusion.schedule import NoiseSchedule

    noise = read_section("noise", NoiseParams, path)
    weight = read_section("train", TrainParams, path).loss_weight
    if steps is None or spacing is None:
        evaluate = read_section("evaluate", EvaluateParams, path)
        steps = evaluate.steps if steps is None else steps
        spacing = spacing or evaluate.spacing
    table = NoiseSchedule.from_settings(**noise.model_dump())
    return {
        **_columns(table, noise, weight, steps, spacing),
        "settings": {
            "noise": noise.model_dump(),
            "loss_weight": weight.model_dump(),
            "steps": steps,
            "spacing": spacing,
        },
        "weight_shares": _shares(table, noise, weight),
        "fingerprint": table.fingerprint,
        "canvas": _advice(table, steps, spacing, size),
    }


def _columns(
    table: NoiseSchedule, noise: NoiseParams, weight: LossWeightParams, steps: int, spacing: str
) -> dict[str, list[Any]]:
    from nadir.diffusion.loss_weight import loss_weight

    timesteps = table.sampling_timesteps(steps, spacing)
    sigmas = table.sigma(timesteps)
    snr = sigmas**-2
    weights = loss_weight(weight.name, snr, prediction=noise.prediction, gamma=weight.gamma)
    return {
        "timesteps": timesteps.tolist(),
        "sigmas": ["inf" if math.isinf(sigma) else sigma for sigma in sigmas.tolist()],
        "snr": snr.tolist(),
        "loss_weights": weights.tolist(),
    }


def _shares(table: NoiseSchedule, noise: NoiseParams, weight: LossWeightParams) -> dict[str, float]:
    from nadir.diffusion.loss_weight import loss_weight_table, weight_shares

    weights = loss_weight_table(table, weight.name, prediction=noise.prediction, gamma=weight.gamma)
    return weight_shares(table, weights)


def _advice(
    table: NoiseSchedule, steps: int, spacing: str, size: tuple[int, int] | None
) -> dict[str, Any] | None:
    if size is None:
        return None
    from dataclasses import asdict

    from nadir.diffusion.resolution import canvas_advice

    sigmas = table.sigma(table.sampling_timesteps(steps, spacing))
    advice = canvas_advice(sigmas, *size)
    return {**asdict(advice), "covered": advice.covered, "advice": _sentences(advice)}


def _sentences(advice: CanvasAdvice) -> str:
    """The advisory in words."""
    verdict = "is enough" if advice.covered else "is too low: use more steps or native spacing"
    return (
        f"A {advice.width_px}x{advice.height_px} canvas is {advice.length:.3g} times as long as "
        f"1024x1024, so steps must begin at sigma {advice.minimum_sigma:.4g} or above; the first "
        f"finite sigma, {advice.first_finite_sigma:.4g}, {verdict} (it covers "
        f"{advice.longest_length:.3g} times the length). From this start {advice.start_leak:.2%} "
        f"of the asked-for mean colour is lost to the starting noise; a start at "
        f"{advice.first_finite_sigma:.4g} would lose {advice.finite_leak:.2%}."
    )


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    settings = report["settings"]
    noise, weight = settings["noise"], settings["loss_weight"]
    grid = Table(
        title=f"{settings['steps']} {settings['spacing']} steps, {noise['prediction']}-prediction, "
        f"weight {weight['name']} (gamma {weight['gamma']:g})"
    )
    for heading in ("timestep", "sigma", "SNR", f"{noise['prediction']}-loss weight"):
        grid.add_column(heading, justify="right")
    grid.add_column("")
    names = ("timesteps", "sigmas", "snr", "loss_weights")
    for row in zip(*(report[name] for name in names), strict=True):
        terminal = row[0] == noise["timesteps"] - 1
        note = "terminal: pure noise" if row[1] == "inf" else "terminal" if terminal else ""
        cells = [cell if isinstance(cell, str) else f"{cell:.6g}" for cell in row]
        grid.add_row(*cells, note, style="bold reverse" if terminal else None)
    console.print(grid)
    shares = report["weight_shares"].items()
    console.print("Share of the training weight by sigma, uniform timesteps:")
    console.print(
        "  " + "  ".join(f"{name[6:].replace('_', ' ')}: {share:.3g}" for name, share in shares)
    )
    if report["canvas"]:
        console.print(report["canvas"]["advice"], soft_wrap=True)
