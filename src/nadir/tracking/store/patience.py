"""How long a store that does not answer is waited for, and what is said meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 40.0
"""How long `await_answer` asks a store that is away before it gives up, in seconds."""

TELL_AFTER_S = 10.0
_AGAIN_AFTER_S = 2.0
_PROBE_S = 10.0
# For so long after a wait in vain the same process does not wait again: one command asks many
# times, and its waits would add up.
_REMEMBERED_S = 60.0
# MLflow's own defaults are 7 retries of 120 s each with 4 minutes between them, for every call.
# What is set already stays.
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_LIMITS = {_RETRIES: "2", _TIMEOUT: "30"}
# A server that hands files on to its own store answers when it has done so. What is slower than
# this is called away.
_SLOWEST_BYTES_A_SECOND = 4_000_000
_GATEWAY = {502, 503, 504}
_LOGIN = re.compile(r"(?<=://)[^/]*@")

_in_vain: dict[str, float] = {}
_here = threading.local()


def bound_waits() -> None:
    """Make every call of MLflow's client give up within seconds, unless the environment says so."""
    for name, value in _LIMITS.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def time_to_send(size: int) -> Iterator[None]:
    """Inside the block, MLflow's client waits for an answer as long as a file of this size takes.

    Args:
        size: Bytes.
    """
    before = os.environ.get(_TIMEOUT, "")
    needed = size // _SLOWEST_BYTES_A_SECOND
    if not before.isdecimal() or int(before) >= needed:
        yield
        return
    os.environ[_TIMEOUT] = str(needed)
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = before


def await_answer(
    ask: Callable[[], object],
    *,
    uri: str,
    passes: Callable[[BaseException], bool],
    patience_s: float = PATIENCE_S,
) -> None:
    """Ask a store until it answers, or for so long that it must be called away.

    Args:
        ask: One question to the store.
        uri: The store's address.
        passes: Whether a fault may pass by itself.
        patience_s: Seconds to go on asking; 0 asks once. It counts as 0 within a minute of a wait
            that was in vain, and where the environment says that MLflow shall not retry.

    Raises:
        Exception: What the last question raised.
    """
    waited = time.monotonic() - _in_vain.get(uri, -_REMEMBERED_S) < _REMEMBERED_S
    if waited or os.environ.get(_RETRIES) == "0":
        patience_s = 0.0
    deadline = time.monotonic() + patience_s
    silent = waited
    while True:
        try:
            if silent and is_server(uri):
                _knock(uri)
            ask()
        except Exception as error:
            if not passes(error):
                raise
            if time.monotonic() >= deadline:
                if patience_s:
                    _in_vain[uri] = time.monotonic()
                raise
            silent = True
            time.sleep(_AGAIN_AFTER_S)
        else:
            _in_vain.pop(uri, None)
            return


@contextlib.contextmanager
def told_when_slow(place: Callable[[], str]) -> Iterator[None]:
    """Inside the block, a store that takes long is named on standard error, once.

    Args:
        place: Gives the store's address; asked only when there is something to say.
    """
    if getattr(_here, "inside", False):
        yield
        return
    _here.inside = True
    timer = threading.Timer(TELL_AFTER_S, _tell, [place])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _here.inside = False


def is_server(uri: str) -> bool:
    """Whether a store is asked over HTTP."""
    return uri.startswith(("http://", "https://"))


def without_login(uri: str) -> str:
    """An address without the user's name and password."""
    return _LOGIN.sub("", uri)


def _tell(place: Callable[[], str]) -> None:
    # It may be this process that takes its time, such as to draw or send what is registered.
    with contextlib.suppress(Exception):
        uri = place()
        waits = is_server(uri)
        text = f"{'waiting for' if waits else 'at work with'} the MLflow store at "
        text += f"{without_login(uri)}: {TELL_AFTER_S:.0f} s so far"
        text += "; a server that does not answer is given up after about a minute" if waits else ""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _knock(uri: str) -> None:
    """One short request first, since a host that swallows them would hold MLflow's own again.

    Any answer will do, but for a gateway's word that there is nobody behind it. Whether the
    certificate or the login is good is for MLflow's client to say.
    """
    import requests

    try:
        answer = requests.get(without_login(uri), timeout=_PROBE_S, allow_redirects=False)
    except requests.exceptions.SSLError:
        return
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout):
        raise
    except requests.exceptions.RequestException:
        return
    if answer.status_code in _GATEWAY:
        raise ConnectionError(f"HTTP {answer.status_code} from what stands before it")
