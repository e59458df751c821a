"""A reproduction whose arms take seconds: flat latents, the smallest network, four steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.training_project import make_base, write_project

from nadir.config.edit import set_values
from nadir.reproduction.arms import Size
from nadir.reproduction.data import _DONE, _settings, data_key

if TYPE_CHECKING:
    from pathlib import Path

SIZE = Size(
    images=60,
    steps=4,
    short_steps=2,
    batch=2,
    side_px=32,
    vae_steps=1,
    drawing_steps=2,
    noises=2,
)


def place_data(root: Path, params_text: str) -> None:
    """Put shared data where a reproduction of `SIZE` finds them made."""
    key = data_key(root, "clean", SIZE)
    folder = root / "work/reproduction/data" / f"clean-{key}"
    base = make_base(root / "base")
    write_project(folder, base=base, params_text=params_text)
    set_values(_settings(SIZE), folder / "params.yaml")
    (folder / _DONE).write_text(json.dumps({}), encoding="utf-8")
