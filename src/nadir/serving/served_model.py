"""A registered version as MLflow serves it: prompts in, pictures out.

`serving.weights` says where its weights come from: out of the version, or by DVC.

    model = mlflow.pyfunc.load_model("models:/nadir@champion")
    (png,) = model.predict([{"prompt": "1girl, red_hair", "seed": 1}])

A picture depends on its own request only, whatever else is asked for at the same time. One is drawn
at a time, so that memory is bounded by the largest picture that may be asked for.
"""

from __future__ import annotations

import base64
import inspect
import io
import logging
import threading
from typing import Any

from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.pyfunc import PythonModel, PythonModelContext

from nadir.serving.draw_request import DrawRequest, RequestError, check_size, read_requests
from nadir.serving.plain_answers import answer_plainly
from nadir.serving.weights import weights_folder

_KEPT_PROMPTS = 64

_log = logging.getLogger(__name__)


class NadirModel(PythonModel):  # type: ignore[misc]  # MLflow ships no types
    """Prompts to pictures: one base64 PNG per request; the size defaults to the model's own."""

    def load_context(self, context: PythonModelContext) -> None:
        """Find the weights and load them."""
        from nadir.compute.devices import pick_device
        from nadir.model.load import load_checkpoint_info, load_pipeline
        from nadir.sampling.generate import generate
        from nadir.sampling.prompt_encodings import PromptEncodings
        from nadir.sampling.prompt_format import PromptFormat

        folder = weights_folder(context.artifacts)
        form = PromptFormat.of(load_checkpoint_info(folder).training)
        answer_plainly()
        self._drawing = threading.Lock()
        self._generate = generate  # imported now: a version's folder may be gone later
        self._pipeline = load_pipeline(folder, device=pick_device("auto"))
        self._encodings = PromptEncodings.of(self._pipeline, form, most=_KEPT_PROMPTS)
        self._side_px = self._pipeline.unet.config.sample_size * self._pipeline.vae_scale_factor

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: list[DrawRequest],
        params: dict[str, Any] | None = None,  # noqa: ARG002 - MLflow's signature
    ) -> list[str]:
        """Draw one picture per request.

        Raises:
            RequestError: A request cannot be drawn; nothing is then.
        """
        requests = read_requests(model_input)
        sizes = [
            check_size(request, self._side_px, 2 * self._pipeline.vae_scale_factor)
            for request in requests
        ]
        try:
            return [self._draw(*asked) for asked in zip(requests, sizes, strict=True)]
        except Exception as error:  # noqa: BLE001 - no trace of any goes to who asked
            _log.exception("a picture could not be drawn")
            raise RequestError(
                f"the picture could not be drawn ({type(error).__name__}); the server's log says "
                "more",
                error_code=INTERNAL_ERROR,
            ) from None

    def _draw(self, request: DrawRequest, size: tuple[int, int]) -> str:
        with self._drawing:
            drawings = self._generate(
                self._pipeline,
                [(request.prompt, request.seed)],
                encodings=self._encodings,
                cfg_scale=request.cfg_scale,
                steps=request.steps,
                size=size,
            )
            image = next(iter(drawings)).image
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return base64.b64encode(buffer.getvalue()).decode("ascii")


# MLflow wraps `predict` in a check of its own, which answers a request with a wrong key with status
# 500 and everything that was sent. Nothing else needs it: the signature is read off the hints, and
# the mark only keeps MLflow from advising it.
_unchecked: Any = inspect.unwrap(NadirModel.predict)
_unchecked._is_pyfunc = True  # noqa: SLF001 - the mark
NadirModel.predict = _unchecked  # type: ignore[method-assign]
