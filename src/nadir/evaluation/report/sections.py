"""The parts of the report that hold charts; a metric names the one it belongs to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        id: Anchor in the page.
        short: Its line in the table of contents.
        title: Heading.
        help: How to read its charts.
    """

    id: str
    short: str
    title: str
    help: str


BRIGHTNESS = Section(
    id="brightness",
    short="Brightness",
    title="Can it draw black and white?",
    help="An image model that never trained on pure noise starts every picture from middle grey "
    "and cannot leave it. Zero terminal SNR removes that; this is the shortest test of it.",
)
GUIDANCE = Section(
    id="guidance",
    short="Guidance",
    title="What guidance costs",
    help="Stronger guidance follows the prompt more closely and pays in colour, contrast and "
    "variety. A usable range is where these lines stay near the dashed one. No single line should "
    "choose the scale. Bands are 95 % intervals over prompts.",
)
LOSS = Section(
    id="loss",
    short="Held-out loss",
    title="Loss on images it never saw",
    help="No picture is drawn here: held-out images are noised by a fixed amount and the model "
    "guesses the clean one. It is the steadiest sign of learning, and the first to show "
    "overfitting.",
)
CONTENT = Section(
    id="content",
    short="Tags",
    title="Is what was asked for in the picture?",
    help="A probe that was trained on this project's own images looks for the tags of the prompt. "
    "Every number is relative to how often it finds the same tag in real images that it was not "
    "shown: 1 is as good as real. What it cannot see in real images is left out and named.",
)
DISTRIBUTION = Section(
    id="distribution",
    short="Real images",
    title="Beside real images",
    help="Drawn images as a set, in fixed random features that need no trained network: how far "
    "from held-out images, how much of their variety is reached, and whether training images are "
    "copied. These are alarm bells; they compare checkpoints, not datasets.",
)
