"""Write `.env`, the secrets of the server stack, with values of chance: `make secrets`.

    python scripts/make_secrets.py [FILE]

The values of a file that is there stay as they are: its password is the one that the database was
made with. What a file of an earlier version lacks is added.
It needs nothing but Python, since a machine that runs the stack's images may have no more.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

_BYTES = 32
_KEY_BYTES = 10


def new_values() -> dict[str, str]:
    """The values of a new `.env`; each call draws others.

    Passwords have 256 bits in letters, digits, - and _ only, since they become parts of addresses.
    """
    return {
        "POSTGRES_PASSWORD": secrets.token_urlsafe(_BYTES),
        "S3_ACCESS_KEY": secrets.token_hex(_KEY_BYTES),
        "S3_SECRET_KEY": secrets.token_urlsafe(_BYTES),
        "MLFLOW_ADMIN_PASSWORD": secrets.token_urlsafe(_BYTES),
        "MLFLOW_SECRET_KEY": secrets.token_urlsafe(_BYTES),
        "PREFECT_PASSWORD": secrets.token_urlsafe(_BYTES),
        "NADIR_UID": str(os.getuid()),
        "NADIR_GID": str(os.getgid()),
    }


def lines_of(values: dict[str, str]) -> str:
    """Values as lines of the file."""
    return "".join(f"{name}={value}\n" for name, value in values.items())


def add_missing(path: Path) -> list[str]:
    """Add what a file of an earlier version lacks; returns the names that were added.

    Raises:
        SystemExit: It is no file of this kind, or cannot be written; the text says which.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        with os.fdopen(handle, "r+", encoding="utf-8") as file:
            text = file.read()
            there = {line.partition("=")[0].strip() for line in text.splitlines()}
            new = {name: value for name, value in new_values().items() if name not in there}
            if new:
                file.write(("" if text.endswith("\n") or not text else "\n") + lines_of(new))
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(
            f"error: {path}: something lies there that is no file of secrets ({error})\n"
            "  fix: move it away"
        ) from None
    return list(new)


def write_secrets(path: Path) -> None:
    """Make the file, readable by its owner only from its first moment.

    Args:
        path: Where; a file of secrets there gets what it lacks, and nothing is written to another.

    Raises:
        SystemExit: Nothing is to do, or the file cannot be written; the text says which.
    """
    try:
        # O_EXCL: neither an older file nor what a link names is written over.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        added = add_missing(path)
        if added:
            print(f"added {', '.join(added)} to {path}; what was there stays")
            return
        raise SystemExit(
            f"error: {path}: there are secrets already, and they stay: the databases were made with"
            " them\n  fix: nothing to do; for new ones, move it away, and the stack's volumes too"
        ) from None
    except OSError as error:
        raise SystemExit(
            f"error: {path}: the secrets cannot be written ({error.strerror})\n"
            "  fix: let its folder be one that you may write"
        ) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)  # whatever the umask took away
        head = "# Made by `make secrets`; .env.example says what each is. Keep it out of git.\n"
        file.write(head + lines_of(new_values()))
        file.flush()
        os.fsync(file.fileno())
    print(f"wrote {path}, readable by you only")


def main() -> None:
    """Write the file that the command line names, else `.env` of this project."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / ".env"
    write_secrets(path)


if __name__ == "__main__":
    main()
