"""The picture of `nadir schedule --plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.pages.drawing import COLOURS, SERIES, chart_style, log_axis, save_chart

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _DOTS, _TERMINAL = SERIES[0], SERIES[1], SERIES[3]


def draw(report: dict[str, Any], path: Path) -> None:
    """Sigma and loss weight over the timesteps, with the sampling steps as dots.

    Args:
        report: What `nadir schedule --json` prints.
        path: A .png, .svg or .pdf file.

    Raises:
        NadirError: Another kind of file, or a place that cannot be written to.
    """
    with chart_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 6), layout="constrained")
        _draw(figure, report)
        try:
            save_chart(figure, path)
        except OSError as error:
            raise NadirError(
                f"the plot cannot be written ({error.strerror})",
                where=str(path),
                fix="name a file in a folder that you may write to",
            ) from error


def _draw(figure: Figure, report: dict[str, Any]) -> None:
    settings = report["settings"]
    figure.suptitle(
        f"{settings['steps']} {settings['spacing']} steps, "
        f"{settings['noise']['prediction']}-prediction, schedule {report['fingerprint']}",
        fontweight="bold",
    )
    top, bottom = figure.subplots(2, sharex=True)
    _draw_sigmas(top, report)
    _draw_weights(bottom, report)


def _draw_sigmas(axes: Axes, report: dict[str, Any]) -> None:
    from nadir.diffusion.schedule import NoiseSchedule

    sigmas = NoiseSchedule.from_settings(**report["settings"]["noise"]).sigmas
    finite = sigmas[sigmas.isfinite()]
    axes.plot(range(len(finite)), finite, color=_LINE, label="schedule")
    points = {
        t: sigma
        for t, sigma in zip(report["timesteps"], report["sigmas"], strict=True)
        if sigma != "inf"
    }
    dots = (list(points), list(points.values()))
    axes.plot(*dots, "o", color=_DOTS, label="sampling steps")
    if "inf" in report["sigmas"]:
        axes.plot(len(finite), float(finite[-1]), "^", color=_TERMINAL, label="terminal: infinite")
    log_axis(axes, "y")
    axes.set_ylabel("sigma")
    axes.legend()


def _draw_weights(axes: Axes, report: dict[str, Any]) -> None:
    from nadir.diffusion.loss_weight import loss_weight_table
    from nadir.diffusion.schedule import NoiseSchedule

    noise, weight = report["settings"]["noise"], report["settings"]["loss_weight"]
    table = NoiseSchedule.from_settings(**noise)
    names = [weight["name"]] if weight["name"] == "min_snr" else [weight["name"], "min_snr"]
    for name, style, color in zip(names, ("-", "--"), (_LINE, COLOURS["faint"]), strict=False):
        weights = loss_weight_table(
            table, name, prediction=noise["prediction"], gamma=weight["gamma"]
        )
        axes.plot(weights, style, color=color, label=name)
    dots = list(zip(report["timesteps"], report["loss_weights"], strict=True))
    terminal = [dot for dot in dots if dot[0] == noise["timesteps"] - 1]
    axes.plot(*zip(*dots, strict=True), "o", color=_DOTS)
    axes.plot(*zip(*terminal, strict=True), "^", color=_TERMINAL, label="terminal step")
    axes.set_xlabel("timestep")
    axes.set_ylabel(f"{noise['prediction']}-loss weight")
    axes.legend()
