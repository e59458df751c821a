"""A version that was made live draws some pictures, in a process of its own: no stage of DVC.

    python -m nadir.stages.registering.smoke URI COUNT FOLDER

Prompts are those of `evaluate.prompts`, in turn. How far their levels scatter is told in the
`result` event; a picture of one colour is a fault.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from nadir.config.evaluate import EvaluateParams
from nadir.config.reader import read_section
from nadir.ground.events import emit
from nadir.serving.smoke import draw_registered
from nadir.stages.runner import run


def work(uri: str, count: int, folder: Path) -> None:
    """Draw and tell.

    Args:
        uri: Such as `models:/nadir/3`.
        count: How many pictures.
        folder: Where they go.
    """
    prompts = itertools.cycle(read_section("evaluate", EvaluateParams).prompts)
    found = draw_registered(uri, list(itertools.islice(prompts, count)), folder)
    emit("result", stage="smoke", spread=found)


def main() -> None:
    """Entry point."""
    uri, count, folder = sys.argv[1:]
    run("smoke", lambda: work(uri, int(count), Path(folder)))


if __name__ == "__main__":
    main()
