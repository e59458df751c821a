"""A registered version as MLflow serves it: prompts in, pictures out.

A version holds no weights, only DVC's hash of its checkpoint. It is loaded inside a clone of the
project, the current folder or the one that `NADIR_PROJECT` names, which finds the weights by that
hash in the workspace, DVC's cache or its remote.

    model = mlflow.pyfunc.load_model("models:/nadir@champion")
    (png,) = model.predict([{"prompt": "1girl, red_hair", "seed": 1}])
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
from pathlib import Path
from typing import Any

from mlflow.pyfunc import PythonModel, PythonModelContext
from pydantic import BaseModel

PROJECT_VARIABLE = "NADIR_PROJECT"


class DrawRequest(BaseModel):
    """One picture to draw; MLflow derives the model's signature from it."""

    prompt: str
    seed: int = 0
    cfg_scale: float = 4.5
    steps: int = 28
    width: int | None = None
    height: int | None = None


class NadirModel(PythonModel):  # type: ignore[misc]  # MLflow ships no types
    """Prompts to pictures: one base64 PNG per request; the size defaults to the model's own."""

    def load_context(self, context: PythonModelContext) -> None:
        """Find the weights and load them."""
        from nadir.evaluation.generate import PromptEncodings, text_encoder
        from nadir.evaluation.habits import Habits
        from nadir.ground.workspace import project_root
        from nadir.model.checkpoint import load_checkpoint_info, load_pipeline

        pointer = json.loads(Path(context.artifacts["pointer"]).read_text(encoding="utf-8"))
        root = project_root(Path(os.environ.get(PROJECT_VARIABLE, ".")))
        # By name: the room it needs lies above this one.
        cache = importlib.import_module("nadir.pipeline.cache")
        folder = cache.materialise(pointer["md5"], root)
        habits = Habits.of(load_checkpoint_info(folder).training)
        self._pipeline = load_pipeline(folder)
        self._encodings = PromptEncodings(
            text_encoder(self._pipeline), habits.captions, original_size=habits.original_size
        )
        self._side_px = self._pipeline.unet.config.sample_size * self._pipeline.vae_scale_factor

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: list[DrawRequest],
        params: dict[str, Any] | None = None,  # noqa: ARG002 - MLflow's signature
    ) -> list[str]:
        """Draw one picture per request."""
        return [self._draw(request) for request in model_input]

    def _draw(self, request: DrawRequest) -> str:
        from nadir.evaluation.generate import generate

        drawings = generate(
            self._pipeline,
            [(request.prompt, request.seed)],
            encodings=self._encodings,
            cfg_scale=request.cfg_scale,
            steps=request.steps,
            size=(request.width or self._side_px, request.height or self._side_px),
        )
        buffer = io.BytesIO()
        next(iter(drawings)).image.save(buffer, format="PNG")
        return base64.b64encode(buffer.getvalue()).decode("ascii")
