"""The page and its pictures: `GET /`, `GET /compare.js`, `POST /draw`."""

from __future__ import annotations

import asyncio
import functools
import importlib.resources
import json
import logging
import secrets
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from nadir.diffusion.names import SAMPLER_NAMES
from nadir.ground.pages.page import render_page
from nadir.serving.compare.asked import read_form
from nadir.serving.compare.drawing_queue import DrawingQueue
from nadir.serving.compare.guard import Guard
from nadir.serving.draw_request import RequestError

if TYPE_CHECKING:
    from starlette.requests import Request

    from nadir.serving.compare.pair import Pair
    from nadir.serving.draw_request import DrawRequest
    from nadir.serving.limits import Limits

_PACKAGE = "nadir.serving.compare"
_MOST_BYTES = 1 << 18
_MOST_WAITING = 4
_BAD, _TOO_LARGE, _WRONG_KIND, _BUSY, _FAILED, _CLOSED = 400, 413, 415, 429, 500, 503

_log = logging.getLogger(__name__)


def make_app(pair: Pair, limits: Limits, port: int) -> Starlette:
    """The server's application; when its `state.closing` is set, nothing is waited for.

    Args:
        pair: Draws.
        limits: Of what may be asked.
        port: Where it listens; other hosts and origins are refused.
    """
    script = (
        importlib.resources.files(_PACKAGE).joinpath("templates", "compare.js").read_text("utf-8")
    )

    async def page(_request: Request) -> Response:
        return _page(pair)

    async def javascript(_request: Request) -> Response:
        return Response(script, media_type="text/javascript")

    async def icon(_request: Request) -> Response:
        return Response(status_code=204)

    drawings = DrawingQueue(_MOST_WAITING)

    async def draw(request: Request) -> Response:
        try:
            side, asked = await _read(request, limits)
            size = pair.size_of(asked)
        except RequestError as error:
            return _fault(_BAD, error.message, error.field)
        except _Refused as error:
            return _fault(error.status, str(error))
        work = functools.partial(pair.draw, side, asked, size)
        return await _drawn(request, drawings, work, size)

    routes = [
        Route("/", page),
        Route("/compare.js", javascript),
        Route("/favicon.ico", icon),
        Route("/draw", draw, methods=["POST"]),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, port=port)])
    app.state.closing = asyncio.Event()
    return app


class _Refused(Exception):  # noqa: N818 - an answer
    """A body that is not the page's."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def _page(pair: Pair) -> Response:
    nonce = secrets.token_urlsafe(16)
    sizes = sorted(pair.sizes.buckets, key=lambda size: size[0] / size[1])
    text = render_page(
        "compare.html",
        package=_PACKAGE,
        nonce=nonce,
        sides=pair.labels,
        samplers=SAMPLER_NAMES,
        sizes=[f"{width}x{height}" for width, height in sizes],
        usual="x".join(str(side) for side in pair.sizes.usual),
    )
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' blob: data:; "
        f"script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(text, headers={"content-security-policy": policy})


async def _read(request: Request, limits: Limits) -> tuple[int, DrawRequest]:
    """Which of the models, and what it is asked."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _Refused(_WRONG_KIND, "Send JSON.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise _Refused(_TOO_LARGE, f"A request may have {_MOST_BYTES:,} bytes at most.")
    try:
        form = json.loads(body)
    except (ValueError, RecursionError):
        form = None
    if not isinstance(form, dict) or form.get("side") not in (0, 1):
        raise _Refused(_BAD, "Send an object with a text for each field, and `side` 0 or 1.")
    return int(form.pop("side")), read_form(form, limits)


async def _drawn(
    request: Request, drawings: DrawingQueue, work: Any, size: tuple[int, int]
) -> Response:
    """The picture, unless too many wait or nobody waits for it any longer."""
    drawing = drawings.put(work)
    if drawing is None:
        return _fault(_BUSY, "Too many drawings wait already; try again when they are done.")
    picture = asyncio.wrap_future(drawing)
    ends = [
        asyncio.ensure_future(end) for end in (_gone(request), request.app.state.closing.wait())
    ]
    await asyncio.wait([picture, *ends], return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    if not picture.done():
        picture.cancel()  # what has begun is finished, for nobody
        return _fault(_CLOSED, "The server is being closed.")
    try:
        png = picture.result()
    except Exception as error:  # noqa: BLE001 - told in words, and in full on the terminal
        _log.exception("a picture could not be drawn")
        said = error.message if isinstance(error, RequestError) else type(error).__name__
        return _fault(_FAILED, f"The picture could not be drawn: {said}.")
    headers = {"x-drawn-size": f"{size[0]}x{size[1]}"}
    return Response(png, media_type="image/png", headers=headers)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _fault(status: int, message: str, field: str | None = None) -> Response:
    return JSONResponse({"message": message, "field": field}, status_code=status)
