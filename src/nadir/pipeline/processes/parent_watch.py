"""A process group is asked to stop when the process that started it is gone, however it went.

Prefect's worker, when it is stopped, kills its flow, and nobody tells the flow's stage.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Its standard input ends with the process that holds the other end; a line says that all is well.
_WATCH = 'read -r _ || kill -s INT -- "-$1"'


@contextlib.contextmanager
def stopped_with_this_process(group: int) -> Iterator[None]:
    """SIGINT goes to a process group if this process ends inside the block, by SIGKILL too.

    A shell waits for that, since it costs a millisecond and the kernel's own way
    (`PR_SET_PDEATHSIG`) reaches one process and not those that it started.

    Args:
        group: Its id.
    """
    watch = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "sh", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # somebody has killed it
            watch.communicate(b"\n")
