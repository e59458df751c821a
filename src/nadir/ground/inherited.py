"""Settings of the shell that started this process and are meant for other programs."""

from __future__ import annotations

import os
import warnings

# Warnings as errors, asserts and docstrings taken out: what a test run sets, libraries break by.
PYTHON_SWITCHES = ("PYTHONWARNINGS", "PYTHONOPTIMIZE")
_SILENT = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def forget_python_switches() -> None:
    """Take warnings as Python does by itself, here and in processes that are started from here.

    For the first thing in a process: libraries that warn while they load would end it otherwise.
    """
    if "PYTHONWARNINGS" in os.environ:
        warnings.resetwarnings()
        for category in _SILENT:
            warnings.simplefilter("ignore", category)
    for name in PYTHON_SWITCHES:
        os.environ.pop(name, None)
