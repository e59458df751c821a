"""Pictures that a version draws once it is live: sound ones, and one of a single colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
from tests.serving.test_served_model import saved

from nadir.ground.errors import NadirError
from nadir.serving.smoke import draw_registered

__all__ = ["saved"]
BLACK = """
import base64, io, typing, mlflow
from PIL import Image

class Black(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[typing.Any], params=None) -> list[str]:
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "PNG")
        return [base64.b64encode(file.getvalue()).decode() for _ in model_input]

mlflow.models.set_model(Black())
"""


def test_a_model_that_draws_leaves_its_pictures(saved: Path, tmp_path: Path) -> None:
    found = draw_registered(str(saved), ["1girl, red_hair", "1boy"], tmp_path / "pictures")
    assert len(found) == 2
    assert min(found) > 2
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["0.png", "1.png"]


def test_a_picture_of_one_colour_is_a_fault(tmp_path: Path, recwarn: Any) -> None:
    (tmp_path / "black.py").write_text(BLACK, encoding="utf-8")
    mlflow.pyfunc.save_model(
        str(tmp_path / "model"), python_model=str(tmp_path / "black.py"), pip_requirements=[]
    )
    with pytest.raises(NadirError, match=r"picture 0 \('1girl'\) is one colour"):
        draw_registered(str(tmp_path / "model"), ["1girl"], tmp_path / "pictures")
    with pytest.raises(NadirError, match="it does not draw"):
        draw_registered(str(tmp_path / "nothing"), ["1girl"], tmp_path / "pictures")
