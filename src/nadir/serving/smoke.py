"""Pictures of a version as the registry serves it, and what is wrong with them."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_STEPS = 8  # enough to tell a picture from none, which is all that is asked
_LEAST_SPREAD = 2.0
"""Standard deviation of a picture's levels (of 255) below which there is nothing on it: NaN, which
is drawn black, and weights that draw one colour."""


def draw_registered(uri: str, prompts: Sequence[str], folder: Path) -> list[float]:
    """Load a version through MLflow, as any program does, and have it draw.

    Args:
        uri: Such as `models:/nadir/3`.
        prompts: One for each picture; the number is its seed.
        folder: Gets the pictures.

    Returns:
        The spread of each picture's levels.

    Raises:
        NadirError: It does not load, does not draw, or a picture is one colour.
    """
    import mlflow.pyfunc

    requests = [{"prompt": text, "seed": n, "steps": _STEPS} for n, text in enumerate(prompts)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = mlflow.pyfunc.load_model(uri).predict(requests)
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise NadirError(
            f"it does not draw: {lines[0][:500]}", where=uri, fix="see work/logs/smoke.log"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, text in enumerate(answers):
        picture = base64.b64decode(text)
        (folder / f"{number}.png").write_bytes(picture)
        levels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=np.float64)
        spread = round(float(levels.std()), 1)
        if spread < _LEAST_SPREAD:
            raise NadirError(
                f"picture {number} ({prompts[number]!r}) is one colour: its levels scatter by "
                f"{spread} of 255",
                where=str(folder / f"{number}.png"),
                fix="look at it, and at what the version was trained on",
            )
        found.append(spread)
    return found
