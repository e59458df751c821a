"""A registered version as MLflow serves it: prompts in, pictures out.

`serving.weights` says where its weights come from: out of the version, or by DVC.

    model = mlflow.pyfunc.load_model("models:/nadir@champion")
    (png,) = model.predict([{"prompt": "1girl, red_hair", "seed": 1}])

A picture depends on its own request only, whatever else is asked for at the same time. One is drawn
at a time, so that memory is bounded by the largest picture that may be asked for. It has the size
of the training's that is nearest to the one asked for; where these differ, the PNG says so.
"""

from __future__ import annotations

import base64
import inspect
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.pyfunc import PythonModel, PythonModelContext

from nadir.ground.exposition import METRICS_VARIABLE
from nadir.ground.logs.setup import begin
from nadir.sampling.describing import is_only_described
from nadir.serving.draw_request import DrawRequest, RequestError, read_requests, size_of
from nadir.serving.drawer import Drawer
from nadir.serving.limits import read_limits
from nadir.serving.metrics import Metrics, serve_metrics
from nadir.serving.plain_answers import answer_plainly, require_in_time, scoring_server
from nadir.serving.weights import weights_folder

if TYPE_CHECKING:
    from nadir.serving.sizes import Size

_log = logging.getLogger(__name__)


class NadirModel(PythonModel):  # type: ignore[misc]  # MLflow ships no types
    """Prompts to pictures: one base64 PNG per request; the size defaults to the model's own."""

    def load_context(self, context: PythonModelContext) -> None:
        """Find the weights and load them."""
        if is_only_described():
            return
        from nadir.compute.devices import pick_device

        if scoring_server():
            begin()

        self._limits = read_limits(getattr(context, "model_config", None), os.environ)
        folder = weights_folder(context.artifacts)
        self._drawing = threading.Lock()
        self._drawer = Drawer(
            folder, device=str(pick_device("auto")), most_pixels=self._limits.most_pixels
        )
        self._metrics = Metrics()
        answer_plainly(self._limits, self._metrics)
        place = os.environ.get(METRICS_VARIABLE, "").strip()
        if place and scoring_server():
            serve_metrics(self._metrics, place)

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
        if is_only_described():
            return []
        requests = read_requests(model_input, self._limits)
        sizes = [size_of(request, self._drawer.sizes) for request in requests]
        try:
            return [self._draw(*asked) for asked in zip(requests, sizes, strict=True)]
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001 - no trace of any goes to who asked
            _log.exception("a picture could not be drawn")
            raise RequestError(
                f"the picture could not be drawn ({type(error).__name__}); the server's log says "
                "more",
                error_code=INTERNAL_ERROR,
            ) from None

    def _draw(self, request: DrawRequest, size: Size) -> str:
        with self._metrics.waiting.track_inprogress():
            self._drawing.acquire()
        try:
            require_in_time()
            with self._metrics.picture(size[0] * size[1]):
                png = self._drawer.draw(request, size)
        finally:
            self._drawing.release()
        return base64.b64encode(png).decode("ascii")


# MLflow wraps `predict` in a check of its own, which answers a request with a wrong key with status
# 500 and everything that was sent. Nothing else needs it: the signature is read off the hints, and
# the mark only keeps MLflow from advising it.
_unchecked: Any = inspect.unwrap(NadirModel.predict)
_unchecked._is_pyfunc = True  # noqa: SLF001 - the mark
NadirModel.predict = _unchecked  # type: ignore[method-assign]
