"""The list of metrics: a metric is one file here and one line below.

Rows of the table, columns of the report, checks of the gate have this order. Those of `networks`
run where the parameters name the weights of another network; the others need none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.evaluation.metrics.brightness import Luminance
from nadir.evaluation.metrics.brightness_error import BrightnessError
from nadir.evaluation.metrics.chroma import Chroma, ChromaGap
from nadir.evaluation.metrics.clipping import ClipFraction, ClipGap
from nadir.evaluation.metrics.contrast import Contrast, ContrastGap
from nadir.evaluation.metrics.detail import DetailGap
from nadir.evaluation.metrics.diversity import Diversity
from nadir.evaluation.metrics.light.canvases import CanvasError
from nadir.evaluation.metrics.light.extremes import ExtremeGap
from nadir.evaluation.metrics.light.ladder import Ladder
from nadir.evaluation.metrics.light.terminal import MeanLeak, TerminalCanvas
from nadir.evaluation.metrics.loss import HeldOutLoss
from nadir.evaluation.metrics.networks.aesthetic import Aesthetic
from nadir.evaluation.metrics.networks.character import CharacterDifference
from nadir.evaluation.metrics.networks.clip_score import ClipScore
from nadir.evaluation.metrics.networks.cmmd import Cmmd
from nadir.evaluation.metrics.networks.dinov2_distance import Dinov2Distance
from nadir.evaluation.metrics.networks.fid import Fid
from nadir.evaluation.metrics.networks.tagger_recall import TaggerRecall
from nadir.evaluation.metrics.parameterisation import ParameterisationRatio
from nadir.evaluation.metrics.sets.distances import KernelDistance, SlicedDistance
from nadir.evaluation.metrics.sets.memorisation import Memorisation
from nadir.evaluation.metrics.sets.neighbours import Coverage
from nadir.evaluation.metrics.spectrum import SpectrumDistance
from nadir.evaluation.metrics.tags.binding import ColourBinding
from nadir.evaluation.metrics.tags.precision import TagPrecision
from nadir.evaluation.metrics.tags.recall import TagRecall

if TYPE_CHECKING:
    from nadir.evaluation.metric import Metric

METRICS: tuple[type[Metric], ...] = (
    ParameterisationRatio,
    Luminance,
    Chroma,
    ClipFraction,
    Contrast,
    BrightnessError,
    Ladder,
    CanvasError,
    TerminalCanvas,
    MeanLeak,
    TagPrecision,
    ColourBinding,
    TagRecall,
    ChromaGap,
    ClipGap,
    ExtremeGap,
    ContrastGap,
    Diversity,
    SpectrumDistance,
    DetailGap,
    KernelDistance,
    SlicedDistance,
    Coverage,
    Memorisation,
    TaggerRecall,
    CharacterDifference,
    ClipScore,
    Cmmd,
    Dinov2Distance,
    Aesthetic,
    Fid,
    HeldOutLoss,
)
