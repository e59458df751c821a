"""No text from data obeys itself in a terminal, and what this program orders still works."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nadir.ground.terminal import guard, harmless

if TYPE_CHECKING:
    from pathlib import Path

ORDERS = {
    "clears the screen": "\x1b[2J",
    "goes up a line": "\x1b[1A",
    "names the window": "\x1b]0;owned\x07",
    "fills the clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "hides itself": "\x1b[8m",
    "asks what the terminal is": "\x1b[c",
    "eight-bit CSI": "\x9b2J",
    "backspaces": "ok\x08\x08",
    "turns the line around": "\u202egnp.exe",
    "is no text": "\udce9",
}


@pytest.mark.parametrize("text", ORDERS.values(), ids=ORDERS)
def test_an_order_is_shown_and_not_obeyed(text: str) -> None:
    stream = io.StringIO()
    guard(stream).write(text)
    for shown in (harmless(text), stream.getvalue()):
        assert shown.isprintable()
        shown.encode()


@pytest.mark.parametrize(
    "text", ["1girl, 名前 🎨", "a\tb\n", "naïve café", "全角　空白", "no\xa0break"]
)
def test_texts_of_people_stay(text: str) -> None:
    stream = io.StringIO()
    guard(stream).write(text)
    assert harmless(text) == stream.getvalue() == text


def test_colours_and_a_rewritten_line_get_through_the_net_only() -> None:
    stream, errors = io.StringIO(), io.StringIO()
    own = "\r\x1b[K  train: 1/2\x1b[32;1m done\x1b[0m\x1b[m\r\n"
    guard(stream).write(own)
    assert stream.getvalue() == own
    assert "\x1b" not in harmless(own)
    guard(errors, bars=True).write("\r 50%\x1b[A\x1b[2J")
    assert errors.getvalue() == "\r 50%\x1b[A\\x1b[2J"
    guard(stream).write("\rover")
    assert stream.getvalue().endswith("\\x0dover")


def test_the_command_line_shows_a_hostile_name_as_its_code(tmp_path: Path) -> None:
    evil = tmp_path / "\x1b]0;owned\x07\x1b[2Jparams.yaml"
    evil.write_text("\x1b[2J: [")
    command = [sys.executable, "-c", "from nadir.cli import main; main()"]
    for arguments in (["params", "check", "--params", str(evil)], ["inspect", str(evil)]):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        told = done.stdout + done.stderr
        assert done.returncode == 1
        assert not {letter for letter in told if not letter.isprintable()} - {"\n"}
        assert "\\x1b]0;owned\\x07" in told
