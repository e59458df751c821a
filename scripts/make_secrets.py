"""Write `.env`, the secrets of the server stack, with values of chance: `make secrets`.

    python scripts/make_secrets.py [FILE]

A file that is there stays as it is: its password is the one that the database was made with.
It needs nothing but Python, since a machine that runs the stack's images may have no more.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

_BYTES = 32
_KEY_BYTES = 10


def text_of_secrets() -> str:
    """The lines of a new `.env`; each call draws other values.

    Passwords have 256 bits in letters, digits, - and _ only, since they become parts of addresses.
    """
    values = {
        "POSTGRES_PASSWORD": secrets.token_urlsafe(_BYTES),
        "S3_ACCESS_KEY": secrets.token_hex(_KEY_BYTES),
        "S3_SECRET_KEY": secrets.token_urlsafe(_BYTES),
        "NADIR_UID": os.getuid(),
        "NADIR_GID": os.getgid(),
    }
    head = "# Made by `make secrets`; .env.example says what each is. Keep it out of git.\n"
    return head + "".join(f"{name}={value}\n" for name, value in values.items())


def write_secrets(path: Path) -> None:
    """Make the file, readable by its owner only from its first moment.

    Args:
        path: Where; nothing may lie there, not even a link to nowhere.

    Raises:
        SystemExit: Something lies there, or the file cannot be written; the text says which.
    """
    try:
        # O_EXCL: neither an older file nor what a link names is written over.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
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
        file.write(text_of_secrets())
        file.flush()
        os.fsync(file.fileno())


def main() -> None:
    """Write the file that the command line names, else `.env` of this project."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / ".env"
    write_secrets(path)
    print(f"wrote {path}, readable by you only")


if __name__ == "__main__":
    main()
