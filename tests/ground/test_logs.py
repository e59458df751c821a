"""Lines as JSON objects: of whatever prints or logs them, with secrets masked, none lost."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from nadir.ground.errors import NadirError
from nadir.ground.logs.entry import entry, is_json, message_of, read_entry

SECRET = "PW-PLANTED-2"  # pragma: allowlist secret
PROGRAM = f"""
import logging, sys, threading, warnings
from nadir.ground.events import Progress, say
from nadir.ground.logs.setup import begin, record_fields, take_over_handlers
from nadir.ground.logs.stream import print_document

begin(stage="train")
say("train: begins at http://me:{SECRET}@host", step=3)
print("WARNING train: odd\\n  fix: mend it\\n\\nnext \\x1b[2J\\u202e line")
sys.stderr.write("in ")
sys.stderr.write("parts\\r\\nnot ended")
logging.getLogger("some.library").warning("away: %s", "http://me:{SECRET}@host")
own = logging.getLogger("mlflow.like")
own.addHandler(logging.StreamHandler())
own.setLevel(logging.INFO)
take_over_handlers()
own.info("told", extra=record_fields(step=4))
warnings.warn("old", stacklevel=1)
Progress("train", 10, "steps", every_s=0).advance()
print_document({{"a": ["é", 1]}})
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise ValueError("http://me:{SECRET}@host")
"""


def run(program: str, form: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What a program put out and erred, both line by line."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"NADIR_LOG": form, "NADIR_RUN_ID": "run-7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    out, err = ([json.loads(line) for line in text.splitlines()] for text in (
        done.stdout, done.stderr,
    ))  # fmt: skip
    return out, err


def test_all_that_a_process_prints_or_logs_is_one_object_a_line() -> None:
    out, err = run(PROGRAM, "json")
    assert out[4] == {"a": ["é", 1]}
    del out[4]
    told = [*out, *err]
    assert {line["run"] for line in told} == {"run-7"}
    assert {line["stage"] for line in told} == {"train"}
    assert all(datetime.fromisoformat(line["time"]).utcoffset() is not None for line in told)
    shown = [(line["level"], line.get("step"), line["message"]) for line in told]
    assert shown[:4] == [
        ("info", 3, "train: begins at http://me:***@host"),
        ("warning", None, "WARNING train: odd\n  fix: mend it"),
        ("info", None, "next \\x1b[2J\\u202e line"),
        ("info", 1, out[3]["message"]),
    ]
    assert out[3]["message"].startswith("train: 1/10 steps, ")
    assert shown[4:7] == [
        ("info", None, "in parts"),
        ("warning", None, "away: http://me:***@host"),
        ("info", 4, "told"),
    ]
    assert [err[1]["logger"], err[2]["logger"]] == ["some.library", "mlflow.like"]
    levels = [line["level"] for line in err]
    assert levels[3:] == ["warning", "critical", "critical", "info"]
    assert "UserWarning: old" in err[3]["message"]
    assert err[4]["message"].startswith("ZeroDivisionError")
    assert err[5]["message"] == "ValueError: http://me:***@host"
    assert "Traceback" in err[5]["exception"]
    assert err[6]["message"] == "not ended", "the rest is written at the end"


def test_an_entry_is_passed_on_as_it_is_and_other_objects_are_not_taken_for_one() -> None:
    line = entry("error: no\n  fix: yes", stage="encode")
    found = read_entry(line)
    assert found is not None
    assert (found["level"], found["stage"]) == ("error", "encode")
    assert message_of(line) == "error: no\n  fix: yes"
    for other in ("text", '{"message": 1}', "{", "[1]", '{"time": 1'):
        assert read_entry(other) is None
        assert message_of(other) == other


def test_hostile_text_stays_within_its_line() -> None:
    line = entry('a\n{"time": 1}\x00\x9b31m\ud800', stage="x\u2028y")
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == 'a\n{"time": 1}\\x00\\x9b31m\\ud800'
    assert json.loads(line)["stage"] == "x\\u2028y"


@pytest.mark.parametrize("form", ["", "text", " json "])
def test_forms_that_there_are(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NADIR_LOG", form)
    assert is_json() == ("json" in form)


def test_a_form_that_there_is_not_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NADIR_LOG", "yaml")
    with pytest.raises(NadirError, match=r"NADIR_LOG: 'yaml' is no form of a log\n  fix: set it"):
        is_json()
