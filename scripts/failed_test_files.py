"""Name the files of tests that failed in the last run of pytest, one a line.

Whole files, since the tests of a story need the ones before them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

LAST_FAILED = Path(__file__).parents[1] / ".pytest_cache/v/cache/lastfailed"


def failed_files(record: Path) -> list[str]:
    """The files that pytest's own record of failed tests names, each once.

    Raises:
        LookupError: There is no record, or no test failed.
    """
    tests = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    if not tests:
        raise LookupError("no test is on record as failed: run `make test` first")
    return sorted({test.partition("::")[0] for test in tests})


if __name__ == "__main__":
    try:
        print("\n".join(failed_files(LAST_FAILED)))
    except LookupError as error:
        sys.exit(f"error: {error.args[0]}")
