"""Servers of this machine are asked directly, whatever proxy the environment names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Programs differ in which of the two they read first.
_EXCEPTIONS = ("no_proxy", "NO_PROXY")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def proxy_variables(environment: MutableMapping[str, str]) -> dict[str, str]:
    """The variables that name a proxy, in either case, as far as they are set."""
    return {k: v for k, v in environment.items() if k.lower() in _PROXIES and v}


def ask_loopback_directly(environment: MutableMapping[str, str]) -> None:
    """Add this machine to the addresses that no proxy is asked for; the others stay.

    A proxy elsewhere knows no server on this machine's loopback, and one here must not be asked for
    each step's metrics.

    Args:
        environment: Of this process or of one to be started; changed only where it names a proxy.
    """
    if not proxy_variables(environment):
        return
    before = {name: environment.get(name, "") for name in _EXCEPTIONS}
    for name in _EXCEPTIONS:
        listed = before[name] or next(filter(None, before.values()), "")
        entries = [entry.strip() for entry in listed.split(",") if entry.strip()]
        # "No proxy at all" is a word of its own, which most programs do not know beside others.
        if "*" in entries:
            entries = ["*"]
        else:
            entries += [address for address in LOOPBACK if address not in entries]
        environment[name] = ",".join(entries)
