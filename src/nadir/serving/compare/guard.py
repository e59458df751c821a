"""Who may ask the page's server: this machine's browser, for the page itself.

Any page of the web can send requests to loopback, and can have a name of its own point to it; both
are told by the headers that browsers write and pages cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
_OWN_SITES = {None, "same-origin", "none"}
_FIXED = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Passes on what comes from the page and refuses the rest with one sentence.

    Args:
        app: What is guarded.
        port: Where it listens.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in _NAMES}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_FIXED)
            await send(message)

        fault = self._fault(scope["method"], Headers(scope=scope))
        app = PlainTextResponse(fault, status_code=403) if fault else self._app
        await app(scope, receive, send_with_headers)

    def _fault(self, method: str, headers: Headers) -> str:
        if headers.getlist("host") not in [[host] for host in self._hosts]:
            return f"this server answers as {HOST} and localhost only"
        if headers.get("origin") not in {None, *self._origins}:
            return "requests of other pages are refused"
        # A link to the page is followed from anywhere.
        if method != "GET" and headers.get("sec-fetch-site") not in _OWN_SITES:
            return "requests of other pages are refused"
        return ""
