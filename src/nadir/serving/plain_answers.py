"""What MLflow's scoring server answers to a body that is not a request: one sentence, no trace.

By itself it puts the trace of its own code, or all that was sent, into the answer.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from nadir.serving.draw_request import RequestError

MOST_BYTES = 1 << 20
"""Of a body."""
_SERVER = "mlflow.pyfunc.scoring_server"
_EXAMPLE = '{"inputs": [{"prompt": "1girl"}]}'
_SENTENCE_CHARACTERS = 160

_log = logging.getLogger(__name__)


def answer_plainly() -> None:
    """Have the server of this process, if it is one, answer in single sentences."""
    server: Any = sys.modules.get(_SERVER)
    # The server looks it up for every request; there is no setting for it.
    usual = getattr(server, "invocations", None)
    if usual is not None and not hasattr(usual, "__wrapped__"):
        server.invocations = _plain(usual)


def _plain(usual: Any) -> Any:
    @functools.wraps(usual)
    def invocations(data: bytes, content_type: str | None, *rest: Any) -> Any:
        if len(data) > MOST_BYTES:
            raise RequestError(f"the body has {len(data):,} bytes, more than {MOST_BYTES:,}")
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
