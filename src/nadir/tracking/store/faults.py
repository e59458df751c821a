"""What is wrong with a store that fails, and what can be done about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError, disk_full_error
from nadir.tracking.store.patience import is_server

if TYPE_CHECKING:
    from collections.abc import Iterator

_AGAIN = "then run the same command again: what is finished is kept"
_LOGIN = {"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"}
_AWAY = {"ConnectionError", "Timeout", "TimeoutError", "gaierror"}
_GATEWAY = {"502", "503", "504"}
_S3 = {"boto3", "botocore"}
_SERVER_ERROR = re.compile(r"too many (429|5\d\d) error responses|error code (5\d\d) !=")
_NO_MLFLOW = re.compile(r"not in a valid JSON format|error code (30\d|404|407) !=")
_DAMAGED = re.compile(r"file is not a database|disk image is malformed")
_ADDRESS = re.compile(r"^HTTPS?Connection(?:Pool)?\([^)]*\): ")


def store_error(error: BaseException, *, what: str, where: str) -> NadirError:
    """An error of MLflow, or of a library it asks with, as one that says what to do.

    Args:
        error: What was raised.
        what: What failed, such as "cannot open the MLflow store".
        where: The store's address.
    """
    why, fix = _told(list(_chain(error)), server=is_server(where))
    return NadirError(f"{what}: {why}", where=where, fix=fix)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it; MLflow names no cause of its own errors."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _told(chain: list[BaseException], *, server: bool) -> tuple[str, str]:
    text = _first_line(chain[0])
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    modules = {type(link).__module__.partition(".")[0] for link in chain}
    if {getattr(link, "error_code", "") for link in chain} & _LOGIN:
        return _refused(text)
    if modules & _S3:
        keys = "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
        fix = f"see that it is up and takes the keys of the environment ({keys}), {_AGAIN}"
        return f"its store of artifacts failed: {text}", fix
    failing = next((found for link in chain if (found := _SERVER_ERROR.search(str(link)))), None)
    code = (failing[1] or failing[2]) if failing else ""
    if code in _GATEWAY:
        fix = f"start it, or see what stands before it, {_AGAIN}"
        return f"the server does not answer (HTTP {code} in its place)", fix
    if code and server:
        behind = "its database or its store of artifacts (S3)"
        fix = f"see the server's log and repair what stands behind it, {behind}, {_AGAIN}"
        return f"the server is up but answers with errors (HTTP {code})", fix
    if names & _AWAY and server:
        reason = _ADDRESS.sub("", _first_line(chain[-1]))  # of the operating system, the plainest
        fix = f"start it, or correct or unset MLFLOW_TRACKING_URI, {_AGAIN}"
        return f"the server does not answer ({reason})", fix
    return _of_another_kind(chain, text, server=server)


def _of_another_kind(chain: list[BaseException], text: str, *, server: bool) -> tuple[str, str]:
    """What answers, and is still not a store that could be worked with."""
    if server and any(_NO_MLFLOW.search(str(link)) for link in chain):
        fix = f"correct MLFLOW_TRACKING_URI, or set what a login before it asks for, {_AGAIN}"
        return f"what answers there is not an MLflow server: {text}", fix
    for link in chain:
        if full := None if server else disk_full_error(link, where=""):
            return full.what, full.fix
    if not server and any(_DAMAGED.search(str(link)) for link in chain):
        return f"the database is damaged: {text}", (
            "put a backup of this file in its place; without one, move it away, and `nadir run` "
            "makes a new registry and registers the present checkpoint in it"
        )
    return text, f"see that the server or database is up, {_AGAIN}"


def _refused(text: str) -> tuple[str, str]:
    if "Host header" in text:
        fix = "start the server with --allowed-hosts naming the address it is called by"
        return f"the server takes no calls by this name: {text}", fix
    login = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    fix = f"set {login}, of an account that may do this, {_AGAIN}"
    return f"the server refuses this login: {text}", fix


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:500]
