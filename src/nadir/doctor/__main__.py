"""`python -m nadir.doctor [--json] [NAME...]`, where `nadir` itself does not start."""

from __future__ import annotations

import sys

from nadir.doctor.main import doctor

if __name__ == "__main__":
    given = sys.argv[1:]
    raise SystemExit(doctor([a for a in given if a != "--json"], as_json="--json" in given))
