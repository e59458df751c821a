"""What a worker process does: one item after the other, with a sign of life before each.

`nadir.compute.process_pool` starts it, with three descriptors on its command line: a socket, where
beats go, and a file that workers lock to be alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from nadir.compute.lean_start import freeze

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGINS = b"."
"""A beat: the next item begins."""
WAITS = b"w"
"""A beat: the item waits for its turn, and its time has not begun."""

_TURN_S = 0.1
_crew: list[int] = []


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep the other workers of the crew out of this block; outside of workers it does nothing."""
    if not _crew:
        yield
        return
    beats, lock = _crew
    while True:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            os.write(beats, WAITS)
            time.sleep(_TURN_S)
    os.write(beats, WAITS)
    try:
        yield
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN)


def serve(connection: Connection, beats: int) -> None:
    """Work on chunks until the parent closes the connection.

    The first message is the parent's `sys.path`, the second the function, each further one a list
    of items. The answer to a chunk is ("results", list), or ("raised", error, traceback text).

    Args:
        connection: To the parent.
        beats: Descriptor that gets one byte before each item, so that the parent knows which one
            takes too long, or was the last.
    """
    sys.path[:] = connection.recv()
    function = connection.recv()
    # Libraries warn of odd EXIF and the like; what matters of it becomes a reason.
    warnings.simplefilter("ignore")
    # Images hardly ever make cycles, and looking for them takes a few percent of the time.
    freeze()
    gc.set_threshold(50_000)
    while True:
        try:
            chunk = connection.recv()
        except (EOFError, OSError):
            return
        connection.send_bytes(_answer(function, chunk, beats))


def _answer(function: Any, chunk: list[Any], beats: int) -> bytes:
    try:
        results = []
        for item in chunk:
            os.write(beats, BEGINS)
            results.append(function(item))
        return pickle.dumps(("results", results), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - it is raised again, in the parent
        text = traceback.format_exc()
        try:
            answer = pickle.dumps(("raised", error, text))
            pickle.loads(answer)  # noqa: S301 - our own bytes; some errors only pickle one way
        except Exception:  # noqa: BLE001 - an error that cannot be pickled is passed on as text
            answer = pickle.dumps(("raised", RuntimeError(str(error)), text))
        return answer


def _end_with_parent(beats: int) -> None:
    """End this process when nobody reads its beats any more, whatever it is doing."""
    watch = select.poll()
    watch.register(beats, 0)
    watch.poll()
    os._exit(1)


def main() -> None:
    """Serve on the descriptors named on the command line."""
    # An interrupt is the parent's to handle; it ends its workers by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    socket, beats, lock = (int(text) for text in sys.argv[1:4])
    _crew.extend([beats, lock])
    threading.Thread(target=_end_with_parent, args=(beats,), daemon=True).start()
    serve(Connection(socket), beats)
