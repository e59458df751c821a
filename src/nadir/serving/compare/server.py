"""The page's server, on loopback, until Ctrl-C."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import uvicorn

from nadir.ground.errors import NadirError
from nadir.serving.compare.app import make_app
from nadir.serving.compare.guard import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.serving.compare.pair import Pair
    from nadir.serving.limits import Limits

_END_S = 1
_MOST_CONNECTIONS = 64


def listen(port: int) -> socket.socket:
    """A socket on loopback.

    Args:
        port: 0 takes a free one.

    Raises:
        NadirError: The port is taken, or there is none of that number.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise NadirError(
            f"port {port} cannot be listened at ({error})",
            where="--port",
            fix="name a free port, or 0 for any",
        ) from None
    listening.listen()
    return listening


def serve(
    pair: Pair, limits: Limits, listening: socket.socket, tell: Callable[[str], None]
) -> None:
    """Answer until Ctrl-C or `kill`.

    Args:
        pair: Draws.
        limits: Of what may be asked.
        listening: From `listen`.
        tell: Is given the page's address.
    """
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        make_app(pair, limits, port),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_END_S,
    )
    tell(f"http://{HOST}:{port}")
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Does not wait for pictures when it is told to end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.closing.set()  # type: ignore[union-attr]  # `make_app`'s
        await super().shutdown(sockets)
