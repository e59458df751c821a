"""Where numbers about this process are shown to Prometheus: at a port, or in a file that it leaves.

`NADIR_METRICS` names either: `9464` or `HOST:PORT` for a process that lasts, or a folder (a path
with a slash) for one that ends, which node exporter's textfile collector reads.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

METRICS_VARIABLE = "NADIR_METRICS"
_LOOPBACK = "127.0.0.1"
_MOST_PORT = (1 << 16) - 1


def metrics_place() -> str | Path | None:
    """A folder, or `PORT` or `HOST:PORT`; None where the variable is not set.

    Raises:
        NadirError: It is neither, or there is no such folder.
    """
    named = os.environ.get(METRICS_VARIABLE, "").strip()
    if not named:
        return None
    if "/" not in named:
        _address(named)
        return named
    folder = Path(named).expanduser()
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise NadirError(
            f"{named!r} is no folder that can be written",
            where=METRICS_VARIABLE,
            fix="make it (node exporter's --collector.textfile.directory), or write PORT or "
            "HOST:PORT",
        )
    return folder.absolute()


def serve_registry(registry: CollectorRegistry, place: str) -> None:
    """Answer Prometheus until the process ends.

    Args:
        registry: What to show.
        place: `PORT`, on loopback, or `HOST:PORT`.

    Raises:
        NadirError: It is no such place, or taken.
    """
    from prometheus_client import start_http_server

    host, port = _address(place)
    try:
        start_http_server(port, host, registry=registry)
    except OSError as error:
        raise NadirError(
            f"metrics cannot be shown at {place} ({error.strerror or error})",
            where=METRICS_VARIABLE,
            fix="name a free port; each worker of `mlflow models serve` needs one of its own, so "
            "use --workers 1",
        ) from error


def write_registry(registry: CollectorRegistry, folder: Path, name: str) -> None:
    """Replace `nadir_NAME.prom` in the folder, as a whole.

    Raises:
        OSError: It cannot be written.
    """
    from prometheus_client import write_to_textfile

    write_to_textfile(str(folder / f"nadir_{name}.prom"), registry)


def _address(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) <= _MOST_PORT:
        raise NadirError(
            f"{place!r} is not a port",
            where=METRICS_VARIABLE,
            fix="write PORT or HOST:PORT, or a folder such as /var/lib/node_exporter",
        )
    return host.strip("[]") or _LOOPBACK, int(port)
