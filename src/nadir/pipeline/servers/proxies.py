"""Proxies of the environment that Prefect's client cannot use, kept from it where it needs none."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nadir.ground.errors import NadirError
from nadir.ground.loopback import LOOPBACK, proxy_variables
from nadir.pipeline.processes.process import withheld

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def without_unusable_proxies(server: str | None) -> Iterator[None]:
    """Hide from this process, not from those it starts, proxies that its HTTP library refuses.

    httpx looks at every proxy of the environment when a client is made, whether or not it is to be
    asked, and raises on a SOCKS one without its extra package.

    Args:
        server: Address of the Prefect server; None is the temporary one.

    Raises:
        NadirError: The server is on another machine, for which the proxy may be needed.
    """
    faults = {n: f for n, v in proxy_variables(os.environ).items() if (f := _fault(v))}
    if faults and server is not None and urlsplit(server).hostname not in LOOPBACK:
        name, fault = next(iter(faults.items()))
        raise NadirError(
            f"Prefect's client cannot use this proxy: {fault}",
            where=name,
            fix=f"`pip install 'httpx[socks]'` for a SOCKS proxy, or correct or unset {name}",
        )
    for name in faults:
        withheld[name] = os.environ.pop(name)
    try:
        yield
    finally:
        for name in faults:
            os.environ[name] = withheld.pop(name)


def _fault(proxy: str) -> str:
    """Why httpx cannot use a proxy; empty when it can."""
    import httpx

    try:
        httpx.Client(proxy=proxy if "://" in proxy else f"http://{proxy}").close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return ""
