"""The one look of every chart, and its way into a page or a file; matplotlib draws."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup, escape

from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "paper": "#fbfaf7",
    "card": "#ffffff",
    "ink": "#1d2230",
    "soft": "#5d6475",
    "faint": "#8b91a0",
    "line": "#e4e1d9",
    "c1": "#2f6db5",
    "c2": "#c8701a",
    "c3": "#1a8a6b",
    "c4": "#a2477f",
    "c5": "#6b6f7a",
    "c6": "#8a7a16",
}
"""Of the light theme; `base.html` has these names, and those of the dark theme."""
SERIES = tuple(COLOURS[name] for name in ("c1", "c2", "c3", "c4", "c5", "c6"))
TIP = "tip:"
"""Before the text that a page shows over a shape: `gid=TIP + text`."""
# What would name the version or the date, and so make equal charts differ.
_METADATA = {
    "png": {"Software": None},
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": {"CreationDate": None},
}
_BACKEND = "agg"  # draws into memory and needs no screen
_DPI = 120
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["faint"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": COLOURS["soft"],
    "axes.prop_cycle": f"cycler(color={list(SERIES)})",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": COLOURS["ink"],
    "figure.facecolor": COLOURS["card"],
    "font.size": 11,
    "grid.color": COLOURS["line"],
    "legend.fontsize": 11,
    "legend.frameon": False,
    "legend.labelcolor": COLOURS["soft"],
    "lines.dash_capstyle": "round",
    "lines.linewidth": 2,
    "svg.fonttype": "none",  # text stays text: to be searched, read aloud, and in the page's font
    "svg.hashsalt": "nadir",  # equal charts have equal names inside
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # a tag may hold two dollar signs
    "xtick.color": COLOURS["soft"],
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": COLOURS["soft"],
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


@contextlib.contextmanager
def chart_style() -> Iterator[None]:
    """Inside the block matplotlib draws without a screen and in Nadir's style alone.

    A notebook names a backend in `MPLBACKEND` that only the notebook has, and a `matplotlibrc` in
    the current folder or the user's home changes every chart. Neither may stop a stage, or make
    its outputs differ.
    """
    os.environ["MPLBACKEND"] = _BACKEND
    with contextlib.chdir(_own_settings()):  # where it looks for a matplotlibrc first
        import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def log_axis(axes: Axes, name: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers beside it; the data are drawn already."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if name == "x" else axes.yaxis
    if not math.isfinite(axis.get_minpos()):
        return  # nothing is drawn, or nothing above 0
    axes.set(**{f"{name}scale": "log"})
    low, high = axis.get_view_interval()
    # Powers of ten alone would leave a short axis with one number.
    subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))
    axis.set_minor_formatter(NullFormatter())


def number_text(value: float) -> str:
    """A number in a chart: four significant digits, thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def save_chart(figure: Figure, path: Path) -> None:
    """Write a .png, .svg or .pdf file; equal charts give equal bytes.

    Raises:
        NadirError: Another kind of file.
        OSError: A place that cannot be written to.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        raise NadirError(
            "a plot is a .png, .svg or .pdf file", where=str(path), fix="change the suffix"
        )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=_DPI, metadata=_METADATA[kind])


def inline_svg(figure: Figure, label: str) -> Markup:
    """The chart as an `<svg>` element with the page's colours and font.

    Args:
        figure: A chart drawn in `COLOURS`.
        label: What a screen reader says of it.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=_METADATA["svg"])
    svg = file.getvalue()
    width, height = (f"{72 * inches:g}" for inches in figure.get_size_inches())
    # Without the XML head, and the style sheet, which would be that of the whole page.
    body = svg[svg.index("</style>") :].removeprefix("</style>").lstrip().removeprefix("</defs>")
    body = re.sub(rf"""<g id=(["']){TIP}(.*?)\1>""", r"<g><title>\2</title>", body)
    body = re.sub("<[^>]+>", _for_pages, body)
    # Escaped by matplotlib: labels may come from a user's tags.
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{body}'
    )


def _for_pages(tag: re.Match[str]) -> str:
    """One tag with the page's colours and font, without the names of groups and needless digits."""
    text = re.sub(r'^<g id="[^"]*"', "<g", tag[0])
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return re.sub(r"(\.\d\d)\d+|\s*\n\s*", lambda match: match[1] or " ", text)


def _own_settings() -> Path:
    """The folder of the settings that matplotlib comes with."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name="matplotlib")
    return Path(spec.origin).parent / "mpl-data"
