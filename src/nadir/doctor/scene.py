"""Where a check looks: project, environment, programs and servers, each with a bound on time."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from nadir.ground.loopback import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROGRAM_S = 60.0
"""Longest run of a program that a check starts, in seconds."""
ANSWER_S = 8.0
"""Longest wait for a server's answer, in seconds."""


@dataclass(frozen=True)
class Scene:
    """What a check may look at.

    Attributes:
        root: The project.
        environment: The variables of the shell that asks.
    """

    root: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def work(self) -> Path:
        """`work`, where scratch space and stores of the project lie."""
        from nadir.ground.workspace import main_workspace

        return main_workspace(self.root) / "work"

    def run(self, command: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the project; its output is text, whatever its bytes are.

        Raises:
            OSError: There is no such program.
            subprocess.TimeoutExpired: It took longer than `PROGRAM_S`.
        """
        return subprocess.run(
            list(command),
            cwd=self.root,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_S,
            check=False,
        )


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        status: HTTP's; 0 when it did not answer.
        text: The body's first 64 KiB, or why there was no answer.
        date: The header `Date`, by the server's clock; empty without one.
    """

    status: int
    text: str
    date: str = ""


def ask(url: str, scene: Scene, headers: Mapping[str, str] | None = None) -> Answer:
    """One GET request, as the pipeline's clients would send it: loopback without a proxy.

    A user's name and password in the address are sent as a login.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    login = dict(headers or {})
    if parts.username is not None:
        import base64
        from urllib.parse import unquote

        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login.setdefault("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    proxies = {} if host in LOOPBACK else _proxies(scene)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        request = urllib.request.Request(bare, headers=login)  # noqa: S310 - callers ask over HTTP
        with opener.open(request, timeout=ANSWER_S) as answer:
            return Answer(answer.status, _text(answer.read(1 << 16)), answer.headers["Date"] or "")
    except urllib.error.HTTPError as error:
        return Answer(error.code, _text(error.read(1 << 16)), error.headers["Date"] or "")
    except (OSError, ValueError) as error:
        return Answer(0, str(getattr(error, "reason", error)))


def _proxies(scene: Scene) -> dict[str, str]:
    names = ("http_proxy", "https_proxy")
    return {
        name.removesuffix("_proxy"): value
        for name in names
        if (value := scene.environment.get(name) or scene.environment.get(name.upper()))
    }


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
