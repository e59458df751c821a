"""SIGTERM and a closed terminal interrupt, so that the stage is told and waited for."""

from __future__ import annotations

import os
import signal

import pytest

from nadir.pipeline.processes.signals import interrupted_when_told_to_stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_is_an_interrupt_inside_the_block_alone(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # whatever the tests were started by
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_when_told_to_stop():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupted_when_told_to_stop():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
