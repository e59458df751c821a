"""What is known of each optimizer without loading it: memory, and what it can be combined with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OptimizerName = Literal[
    "adamw",
    "adamw_8bit",
    "adamw_4bit",
    "adamw_fp8",
    "adafactor",
    "came",
    "lion",
    "muon",
    "prodigy",
    "schedule_free",
]


@dataclass(frozen=True)
class OptimizerFacts:
    """One line of the table of optimizers.

    Attributes:
        state_bytes: Of its state, per number of a large matrix.
        by_number: Its step needs of each number that number's own gradient and state alone, so that
            processes can share a parameter out.
        by_parameter: Its step needs one parameter alone, so that it can be made inside backward and
            through a copy of one parameter in fp32.
        factored: It keeps sums over rows and columns of matrices.
        own_average: Its weights to publish are not those it trains.
        one_rate: It has one learning rate for all that is trained.
    """

    state_bytes: float
    by_number: bool = False
    by_parameter: bool = True
    factored: bool = False
    own_average: bool = False
    one_rate: bool = False


OPTIMIZERS: dict[OptimizerName, OptimizerFacts] = {
    "adamw": OptimizerFacts(8, by_number=True),
    # 8 and 4 bit with one fp32 scale in 256 and in 128 numbers, twice.
    "adamw_8bit": OptimizerFacts(2 + 2 * 4 / 256),
    "adamw_4bit": OptimizerFacts(1 + 2 * 4 / 128),
    "adamw_fp8": OptimizerFacts(2 + 2 * 4 / 256),
    "adafactor": OptimizerFacts(0, factored=True),
    # Momentum in full, two squares in rows and columns.
    "came": OptimizerFacts(4, factored=True),
    "lion": OptimizerFacts(4, by_number=True),
    "muon": OptimizerFacts(4),
    # One step size for all parameters, from all of them; four numbers for each.
    "prodigy": OptimizerFacts(16, by_parameter=False, one_rate=True),
    "schedule_free": OptimizerFacts(8, by_number=True, by_parameter=False, own_average=True),
}
"""Table by name; the classes are made in `nadir.training.optim.optimizers`."""
