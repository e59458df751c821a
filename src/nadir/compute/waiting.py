"""How the threads of a computation wait for one another."""

from __future__ import annotations

import os

# Under a millisecond: longer than most gaps between two layers, so on a quiet machine few threads
# go to sleep there. By default it is 300,000, up to 15 milliseconds, and where other processes hold
# the cores nearly every wait takes that long. Measured in docs/performance.md.
_SPINS = "15000"


def bound_spinning() -> None:
    """Have waiting threads of OpenMP give their core up soon, unless the user has said how.

    To be called before torch is loaded, whose OpenMP (GCC's) reads the environment once. Results
    do not depend on it. Other processes that are started from this one do the same.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
