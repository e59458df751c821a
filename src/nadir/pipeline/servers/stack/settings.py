"""What docker-compose.yml and `.env` say, as far as programs without containers need it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.tracking.lock_file import load_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

COMPOSE_FILE = "docker-compose.yml"
SECRETS_FILE = ".env"
_REFERENCE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<kind>:[?-])(?P<text>[^}]*))?\})")
_RESTARTS = {"always", "unless-stopped"}
_FINISHED = "service_completed_successfully"


@dataclass(frozen=True)
class Service:
    """One service, with the values of `.env` in place.

    Attributes:
        name: Its name, by which the others reach it.
        command: Program and arguments; empty where the image alone knows them.
        environment: Its own variables.
        mounts: Folders and files it has from outside: place in the container to the one outside, a
            path from the compose file's folder if it begins with a dot, else a volume's name.
        scratch: Folders of it that are empty at each start.
        folder: Where it runs, in the container; empty where the image says so.
        check: Command that ends with 0 once it is healthy; empty where there is none.
        needs: The services that are to be ready before.
        once: Whether it ends by itself and is then ready.
        restarts: Whether it is started again when it ends by itself.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: Mapping[str, str]
    scratch: tuple[str, ...]
    folder: str
    check: tuple[str, ...]
    needs: tuple[str, ...]
    once: bool
    restarts: bool


def read_variables(path: Path) -> dict[str, str]:
    """`NAME=value` lines of a file; comments and empty lines are left out.

    Raises:
        NadirError: No such file, or a line that is no such pair.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise NadirError(
            f"the stack's passwords cannot be read ({error.strerror})",
            where=str(path),
            fix="`make secrets` makes them",
        ) from error
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            raise NadirError(
                "the line is no NAME=value", where=f"{path}:{number}", fix="correct or remove it"
            )
        found[name.strip()] = value.strip().strip("\"'")
    return found


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """A text of the compose file with variables in their places, as Compose does it.

    Raises:
        NadirError: A variable that must have a value has none.
    """

    def put(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return "$"
        value = values.get(name, "")
        if value or found["kind"] is None:
            return value
        if found["kind"] == ":?":
            raise NadirError(
                f"{name} has no value",
                where=SECRETS_FILE,
                fix=f"{found['text']}, which adds what is missing; an empty line goes away first",
            )
        return str(found["text"])

    return _REFERENCE.sub(put, text)


def read_services(root: Path, values: Mapping[str, str]) -> dict[str, Service]:
    """The services of the compose file, by name.

    Args:
        root: Folder of docker-compose.yml.
        values: Those of `.env`; what the environment holds too is the caller's to put in.

    Raises:
        NadirError: A password is missing.
    """
    tree = load_yaml(root / COMPOSE_FILE)["services"]
    finished = {
        name
        for service in tree.values()
        for name, how in (service.get("depends_on") or {}).items()
        if how["condition"] == _FINISHED
    }
    return {name: _service(root, name, tree[name], values, name in finished) for name in tree}


def with_needs(services: Mapping[str, Service], names: Iterable[str]) -> dict[str, Service]:
    """The services named and all that they need; none named is all.

    Raises:
        NadirError: There is no such service.
    """
    wanted = set(names) or set(services)
    for name in sorted(wanted - services.keys()):
        raise NadirError(
            f"no service `{name}`", where=COMPOSE_FILE, fix=f"there are {', '.join(services)}"
        )
    while more := {need for name in wanted for need in services[name].needs} - wanted:
        wanted |= more
    return {name: service for name, service in services.items() if name in wanted}


def _service(
    root: Path, name: str, tree: Mapping[str, Any], values: Mapping[str, str], once: bool
) -> Service:
    def words(value: Any) -> list[str]:
        parts = shlex.split(value) if isinstance(value, str) else value or []
        return [interpolated(str(part), values) for part in parts]

    environment: dict[str, str] = {}
    for file in [tree["env_file"]] if "env_file" in tree else []:
        environment |= read_variables(root / file)
    own = {k: interpolated(str(v), values) for k, v in (tree.get("environment") or {}).items()}
    mounts = dict(_mount(volume) for volume in tree.get("volumes") or [])
    return Service(
        name=name,
        command=(*words(tree.get("entrypoint")), *words(tree.get("command"))),
        environment={**environment, **own},
        mounts=mounts,
        scratch=tuple(str(place).partition(":")[0] for place in tree.get("tmpfs") or []),
        folder=str(tree.get("working_dir") or ""),
        check=_check(words((tree.get("healthcheck") or {}).get("test"))),
        needs=tuple(tree.get("depends_on") or {}),
        once=once,
        restarts=tree.get("restart") in _RESTARTS,
    )


def _mount(volume: str) -> tuple[str, str]:
    outside, place = volume.split(":")[:2]
    return place, outside


def _check(test: list[str]) -> tuple[str, ...]:
    if not test:
        return ()
    kind, *words = test
    return ("/bin/sh", "-c", *words) if kind == "CMD-SHELL" else tuple(words)
