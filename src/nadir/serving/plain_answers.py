"""What MLflow's scoring server answers to a body that is not a request: one sentence, no trace.

By itself it puts the trace of its own code, or all that was sent, into the answer. Calls are
counted here as well, since this is where every one of them passes.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import DEADLINE_EXCEEDED, REQUEST_LIMIT_EXCEEDED, ErrorCode

from nadir.serving.draw_request import RequestError

if TYPE_CHECKING:
    from nadir.serving.limits import Limits
    from nadir.serving.metrics import Metrics

_SERVER = "mlflow.pyfunc.scoring_server"
_EXAMPLE = '{"inputs": [{"prompt": "1girl"}]}'
_SENTENCE_CHARACTERS = 160

_log = logging.getLogger(__name__)
_call = threading.local()  # when the server answers the present thread's call by itself


def scoring_server() -> Any:
    """MLflow's server if this process is one, else None."""
    return sys.modules.get(_SERVER)


def answer_plainly(limits: Limits, metrics: Metrics) -> None:
    """Have the server of this process, if it is one, answer in single sentences, and count them."""
    server = scoring_server()
    # The server looks it up for every request; there is no setting for it.
    usual = getattr(server, "invocations", None)
    if usual is not None and not hasattr(usual, "__wrapped__"):
        server.invocations = _counted(_plain(usual, limits), limits, metrics)


def require_in_time() -> None:
    """Stop the work of a call that the server has answered already.

    Raises:
        RequestError: It has waited for too long.
    """
    if time.monotonic() > getattr(_call, "deadline", float("inf")):
        raise RequestError("the call has waited for longer than it may take", DEADLINE_EXCEEDED)


def _counted(plain: Any, limits: Limits, metrics: Metrics) -> Any:
    longest_s = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()
    present, changing = 0, threading.Lock()

    @functools.wraps(plain)
    def invocations(*call: Any) -> Any:
        nonlocal present
        start = time.monotonic()
        _call.deadline = start + longest_s
        with changing:
            present += 1
            waiting = present - 1
        metrics.in_flight.inc()
        status = HTTPStatus.BAD_REQUEST.value
        try:
            _require_place(waiting, limits.most_waiting)
            result = plain(*call)
        except RequestError as error:
            status = error.get_http_status_code()
            raise
        else:
            status = result.status
            return result
        finally:
            del _call.deadline  # the thread may draw for somebody else next
            with changing:
                present -= 1
            seconds = time.monotonic() - start
            if seconds > longest_s:  # that is what was answered, whatever came of it
                status = HTTPStatus.GATEWAY_TIMEOUT.value
            metrics.in_flight.dec()
            metrics.request_seconds.observe(seconds)
            metrics.requests.labels(str(status)).inc()

    return invocations


def _require_place(waiting: int, most: int) -> None:
    if waiting > most:
        raise RequestError(f"{most} calls wait already; ask again later", REQUEST_LIMIT_EXCEEDED)


def _require_inputs_alone(data: bytes) -> None:
    """Refuse what would be left out without a word: MLflow's `params`, and a second input."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return  # it is no JSON, which is said elsewhere
    others = [key for key in body if key != "inputs"] if isinstance(body, dict) else []
    if others and "inputs" in body:
        raise RequestError(
            f"{others[0][:80]!r} is not read; each of `inputs` has all its keys (send JSON such as "
            f"{_EXAMPLE})"
        )


def _plain(usual: Any, limits: Limits) -> Any:
    most = limits.most_bytes

    @functools.wraps(usual)
    def invocations(data: bytes, content_type: str | None, *rest: Any) -> Any:
        if len(data) > most:
            raise RequestError(f"the body has {len(data):,} bytes, more than {most:,}")
        _require_inputs_alone(data)
        try:
            return usual(data, content_type or "", *rest)
        except RequestError:
            raise
        except MlflowException as error:
            sentence = error.message.partition("\n")[0][:_SENTENCE_CHARACTERS]
            code = ErrorCode.Value(error.error_code)
            raise RequestError(f"{sentence} (send JSON such as {_EXAMPLE})", code) from None
        except Exception:  # noqa: BLE001 - no trace of any goes to who asked
            _log.exception("a body could not be read")
            raise RequestError(f"the body cannot be read; send JSON such as {_EXAMPLE}") from None

    return invocations
