"""One registration or promotion at a time, from whatever machine: the lock lies with the registry.

An SQLite file has a lock file beside it, which the kernel drops with its holder. A server knows
nothing like it, but it numbers the versions of a model one by one, whoever asks: a version of the
model `NAME.lock` is a ticket, the lowest that is there holds the lock, and a number never comes
again, so whoever takes a dead ticket away takes away no other. A ticket is dead when its process
is, as far as this machine can tell, or when nothing has renewed it for half a minute by the clock
of the one who waits: clocks of two machines are never compared.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nadir.ground.errors import NadirError
from nadir.ground.locks import waiting_lock
from nadir.tracking.store.connection import missing_is_none

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_SQLITE = "sqlite:///"
SUFFIX = ".lock"
TICKET_TAG = "nadir.ticket"
"""On every ticket, and on nothing else; by chance, so that a repeated call is known as one."""
_HOLDER_TAG, _PLACE_TAG, _BEAT_TAG = "nadir.ticket.holder", "nadir.ticket.place", "nadir.ticket.at"
_ABOUT = (
    "Nobody's model: whoever registers or promotes in `{name}` takes a version here, and gives it "
    "back. The lowest works, the others wait. Empty while nobody does."
)
BEAT_S = 5.0
"""How often a ticket is renewed."""
EXPIRY_S = 30.0
"""For how long a ticket may stay as it is before others take it away."""
LOOK_S = 0.2
"""How often who waits looks."""
_TELL_AFTER_S = 10.0
_ATTEMPTS = 20


class Hold:
    """The right to write into a registry."""

    def check(self) -> None:
        """Refuse to go on if others have taken the lock away meanwhile.

        Raises:
            NadirError: They have.
        """


@contextlib.contextmanager
def registry_lock(client: MlflowClient, name: str) -> Iterator[Hold]:
    """Hold a model's lock, waiting for it as long as somebody else works.

    Args:
        client: Of the store.
        name: The registered model.

    Yields:
        What is asked before a step that must not be made by two: a process that slept for long may
        have lost the lock without knowing.

    Raises:
        MlflowException: The store refuses.
    """
    uri = str(client.tracking_uri)
    if uri.startswith(_SQLITE):
        with waiting_lock(Path(uri.removeprefix(_SQLITE)).parent / "registry.lock"):
            yield Hold()
        return
    ticket = Ticket(client, name)
    try:
        ticket.wait()
        yield ticket
    finally:
        ticket.give_back()


class Ticket(Hold):
    """A place in the queue before a registry on a server.

    Args:
        client: Of the store.
        name: The registered model.
    """

    def __init__(self, client: MlflowClient, name: str) -> None:
        self._client, self._name, self._model = client, name, f"{name}{SUFFIX}"
        self._token = secrets.token_hex(8)
        self._ended = threading.Event()
        self._beats = 0
        self.number = self._take()
        threading.Thread(target=self._renew_for_ever, daemon=True).start()

    def wait(self) -> None:
        """Wait until it is the lowest, taking away those before it that are dead."""
        watch, since, told = _Watch(), time.monotonic(), False
        while True:
            queue = self._queue()
            mine = [int(found.version) for found in queue if self._is_mine(found)]
            if not mine:  # this process slept for so long that others took it away
                self.number = self._take()
                continue
            self.number = min(mine)
            before = [found for found in queue if int(found.version) < self.number]
            if not before:
                return
            dead = watch.dead(before)
            for found in dead:
                self._remove(int(found.version))
            if dead:
                continue
            if not told and time.monotonic() - since > _TELL_AFTER_S:
                sys.stderr.write(f"waiting for {before[0].tags.get(_HOLDER_TAG)}, who works in the "
                                 f"registry of `{self._name}`\n")  # fmt: skip
                told = True
            time.sleep(LOOK_S)

    def check(self) -> None:
        """As of `Hold`: renews the ticket, which works only while it is there."""
        with missing_is_none():
            self._renew()
            return
        raise NadirError(
            f"the lock of `{self._name}` was taken away: this process gave no sign for "
            f"{EXPIRY_S:.0f} s, and others went on",
            where=str(self._client.tracking_uri),
            fix="run the same command again; what was done so far is kept or undone by it",
        )

    def give_back(self) -> None:
        """Leave the queue; a store that is away forgets the ticket by itself."""
        self._ended.set()
        with contextlib.suppress(Exception):
            for found in self._queue():
                if self._is_mine(found):
                    self._remove(int(found.version))

    def _take(self) -> int:
        from mlflow.exceptions import MlflowException

        tags = {
            TICKET_TAG: self._token,
            _HOLDER_TAG: f"{account()}@{socket.gethostname()} (process {os.getpid()})",
            _PLACE_TAG: _place(),
            _BEAT_TAG: "0",
        }
        for attempt in range(_ATTEMPTS):
            try:
                made = self._client.create_model_version(self._model, "nadir:///ticket", tags=tags)
                return int(made.version)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    self._make_model()
                elif "Giving up" not in str(error) or attempt == _ATTEMPTS - 1:
                    raise  # the server gives up after three others were quicker
        raise AssertionError  # pragma: no cover - the last attempt raises

    def _make_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            about = _ABOUT.format(name=self._name)
            self._client.create_registered_model(self._model, description=about)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _queue(self) -> Sequence[ModelVersion]:
        found = self._client.search_model_versions(f"name = '{self._model}'")
        return sorted(found, key=lambda one: int(one.version))

    def _is_mine(self, found: ModelVersion) -> bool:
        return bool(found.tags.get(TICKET_TAG) == self._token)

    def _remove(self, number: int) -> None:
        with missing_is_none():
            self._client.delete_model_version(self._model, str(number))

    def _renew(self) -> None:
        self._beats += 1
        self._client.set_model_version_tag(
            self._model, str(self.number), _BEAT_TAG, str(self._beats)
        )

    def _renew_for_ever(self) -> None:
        while not self._ended.wait(BEAT_S):
            # A store that is away, and a ticket that was taken away, are for `check` to tell.
            with contextlib.suppress(Exception):
                self._renew()


class _Watch:
    """What one who waits has seen of the tickets before it, and when by its own clock."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}

    def dead(self, tickets: Sequence[ModelVersion]) -> list[ModelVersion]:
        return [ticket for ticket in tickets if self._is_dead(ticket)]

    def _is_dead(self, ticket: ModelVersion) -> bool:
        number, beat, now = int(ticket.version), ticket.tags.get(_BEAT_TAG, ""), time.monotonic()
        known, since = self._seen.get(number, (None, now))
        if known != beat:
            self._seen[number] = (beat, now)
            since = now
        return now - since > EXPIRY_S or _has_ended(ticket.tags.get(_PLACE_TAG, ""))


def _has_ended(place: str) -> bool:
    """Whether a process of this very machine, and in sight of this one, is there no more."""
    machine, _, pid = place.rpartition("/")
    return bool(machine) and machine == _machine() and not psutil.pid_exists(int(pid))


def _place() -> str:
    return f"{_machine()}/{os.getpid()}"


def _machine() -> str:
    """This boot of this machine, and what numbers processes have here; "" where nothing tells."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def account() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
