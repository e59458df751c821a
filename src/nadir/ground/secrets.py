"""Passwords and keys, taken out of whatever is shown or kept.

They get into texts inside addresses (`MLFLOW_TRACKING_URI=https://me:secret@host`), which libraries
quote in their errors. So everything that leaves the program (errors, events, lines, records, tags)
is masked where it leaves, and no caller has to think of it.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

MASK = "***"
# A shorter value would be masked in words that have nothing to do with it.
_SHORTEST = 6
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<info>[^\s/?#\"'<>]*)@")
# To the last @, since a password may hold one, or a slash; a number there is the host's port.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*:(?!\d+(?:/|$))(?P<password>\S+)@")
_TELLING = (
    r"(?:[\w-]*(?:password|passwd|secret|token|signature|credential"
    r"|(?:api|access|account|private)[_-]?key)|pwd|sig)"
)
_NAMED = re.compile(
    rf"(?P<name>(?:^|[?&;\s,{{(\"'])[\"']?{_TELLING}\s?=\s?)(?P<value>[^\s&;,\"')}}]+)",
    re.IGNORECASE,
)
# A setting in JSON or in Python's way of showing one.
_QUOTED = re.compile(
    rf"(?P<name>([\"']){_TELLING}\2\s?:\s?([\"']))(?P<value>(?:(?!\3).)+)", re.IGNORECASE
)
_HEADER = re.compile(r"\b(?P<kind>Basic|Bearer)\s+[A-Za-z0-9+/_.=~-]{8,}")
_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|(ACCESS|ACCOUNT|PRIVATE|STORAGE)_KEY"
    r"|CONNECTION_STRING|AUTH_STRING|CREDENTIAL",
    re.IGNORECASE,
)
_NO_SECRET_NAME = re.compile(r"_(ID|FILE|PATH|DIR|URL|URI|ENDPOINT)$", re.IGNORECASE)


def masked(text: str) -> str:
    """The text with `***` in place of every password, key and token.

    Found are: passwords in addresses (`scheme://user:password@host`; of http also a token that
    stands alone), values of parameters with telling names (`?token=`, `password=`), headers of
    authentication, and the very values that the environment holds in variables with such names or
    in addresses.
    """
    for secret in sorted(set(_of_environment()), key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _USERINFO.sub(_mask_userinfo, text)
    text = _NAMED.sub(rf"\g<name>{MASK}", text)
    text = _QUOTED.sub(rf"\g<name>{MASK}", text)
    return _HEADER.sub(rf"\g<kind> {MASK}", text)


def masked_tree(value: Any) -> Any:
    """A value of JSON with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: masked_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked_tree(item) for item in value]
    return value


def holds_secret(address: str) -> bool:
    """Whether an address has a password or token before its host, or one among its parameters."""
    bare = _USERINFO.sub(_mask_userinfo, address)
    return bare != address or bool(_NAMED.search(address))


def scrub(error: BaseException | None) -> None:
    """Mask the texts of an error and of all that led to it, so that its traceback tells none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = tuple(masked(arg) if isinstance(arg, str) else arg for arg in error.args)
        if isinstance(getattr(error, "message", None), str):
            error.message = masked(error.message)  # type: ignore[attr-defined]  # MLflow's
        error = error.__cause__ or error.__context__


def mask_logs() -> None:
    """Mask every record of this process's logs, whatever writes or keeps them."""
    make = logging.getLogRecordFactory()
    if getattr(make, "masks", False):
        return

    def record_without_secrets(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        text = record.getMessage()
        if masked(text) != text:
            record.msg, record.args = masked(text), ()
        if record.exc_info:
            scrub(record.exc_info[1])
        return record

    record_without_secrets.masks = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record_without_secrets)


def _mask_userinfo(found: re.Match[str]) -> str:
    scheme, info = found["scheme"], found["info"]
    user, colon, _ = info.partition(":")
    if colon:
        return f"{scheme}://{user}:{MASK}@"
    return f"{scheme}://{MASK if scheme.startswith('http') else user}@"


def _of_environment() -> Iterator[str]:
    """Passwords and keys of this process, as they are and as an address spells them."""
    for name, value in os.environ.items():
        found = [value] if _SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name) else []
        address = _ADDRESS.match(value)
        found += [address["password"]] if address else []
        for secret in found:
            spellings = {secret, unquote(secret), quote(secret, safe="")}
            yield from (spelling for spelling in spellings if len(spelling) >= _SHORTEST)
