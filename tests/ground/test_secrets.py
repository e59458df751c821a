"""Passwords and keys are masked in every form they come in, and nothing else is."""

from __future__ import annotations

import io
import json
import logging
import traceback
from pathlib import Path

import pytest

from nadir.ground.errors import NadirError
from nadir.ground.events import EVENTS_VARIABLE, emit, say
from nadir.ground.secrets import holds_secret, mask_logs, masked

SECRET = "PW-PLANTED-1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"at http://me:{SECRET}@host:5000/api: no", "at http://me:***@host:5000/api: no"),
        (f"postgresql+psycopg2://u:{SECRET}@db/x", "postgresql+psycopg2://u:***@db/x"),
        (f"https://{SECRET}@git.example.org/x.git", "https://***@git.example.org/x.git"),
        (f"redis://:{SECRET}@host", "redis://:***@host"),
        (f"http://u:{SECRET}@a and http://v:{SECRET}@b", "http://u:***@a and http://v:***@b"),
        (
            f"u:a@{SECRET}@host is s3://u:a@{SECRET}@host",
            "u:a@PW-PLANTED-1@host is s3://u:***@host",
        ),
        (f"https://h/x?a=1&token={SECRET}&b=2", "https://h/x?a=1&token=***&b=2"),
        (f"https://h/x?X-Amz-Signature={SECRET}", "https://h/x?X-Amz-Signature=***"),
        (f"host=db password={SECRET} user=u", "host=db password=*** user=u"),
        (f"Authorization: Basic {SECRET}=", "Authorization: Basic ***"),
        (f"AccountName=a;AccountKey={SECRET};Suffix=b", "AccountName=a;AccountKey=***;Suffix=b"),
        (f"aws_secret_access_key = {SECRET}", "aws_secret_access_key = ***"),
        (f'{{"password": "{SECRET} x", "a": 1}}', '{"password": "***", "a": 1}'),
        (f"{{'secret_access_key': '{SECRET}'}}", "{'secret_access_key': '***'}"),
    ],
)
def test_a_password_is_masked_and_what_surrounds_it_stays(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/models/nadir@champion",
        "models:/nadir@champion", "ssh://git@host/x.git", "git@host:x.git", "s3://bucket/a@b",
        "sqlite:////home/me/work/mlflow/mlflow.db", "1girl, red_hair @ 3:2",
        "train.caption.token_chunks=3", "tokens: 75 of 120", "train.steps: 20 -> 21",
        "aws_access_key_id=AKIDEXAMPLE", '{"tokens": "75", "token_chunks": "3"}',
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text
    assert not holds_secret(text)


def test_what_the_environment_keeps_secret_is_masked_wherever_it_turns_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc/def+ghi")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://u:pa%40ss/word@host:5000")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    told = "abc/def+ghi abc%2Fdef%2Bghi pa%40ss/word pa@ss/word false AKIDEXAMPLE"
    assert masked(told) == "*** *** *** *** false AKIDEXAMPLE"
    assert masked("http://u:pa%40ss/word@host:5000/x") == "http://u:***@host:5000/x"


def fail_twice(address: str) -> None:
    cause = OSError(f"API request to {address} failed")
    raise ValueError(address) from cause


def test_errors_events_lines_logs_and_tracebacks_mask_what_they_carry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events"))
    address = f"http://u:{SECRET}@host"
    error = NadirError(f"{address} is away", where=address, fix=f"see {address}")
    emit("stage_failed", error=address, inside={"list": [address]})
    say(address)
    stream = io.StringIO()
    logger, handler = logging.getLogger("secrets"), logging.StreamHandler(stream)
    before = logging.getLogRecordFactory()
    logger.addHandler(handler)
    try:
        mask_logs()
        try:
            fail_twice(address)
        except ValueError as fault:
            logger.exception("failed: %s", address)
            told = "".join(traceback.format_exception(fault))
    finally:
        logger.removeHandler(handler)
        logging.setLogRecordFactory(before)
    event = (tmp_path / "events").read_text()
    assert json.loads(event)["inside"] == {"list": ["http://u:***@host"]}
    for text in (str(error), repr(error), event, capsys.readouterr().out, stream.getvalue(), told):
        assert SECRET not in text
        assert "http://u:***@host" in text
