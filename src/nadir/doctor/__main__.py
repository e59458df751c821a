"""`python -m nadir.doctor [--json] [NAME...]`, where `nadir` itself does not start."""

from __future__ import annotations

import sys

from nadir.doctor.main import doctor
from nadir.ground.errors import NadirError
from nadir.ground.logs.setup import begin

if __name__ == "__main__":
    try:
        begin()
    except NadirError as error:
        raise SystemExit(f"error: {error}") from None
    given = sys.argv[1:]
    raise SystemExit(doctor([a for a in given if a != "--json"], as_json="--json" in given))
