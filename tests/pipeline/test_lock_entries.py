"""One stage's entry is written to `dvc.lock` as DVC itself would write it, to the byte."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
from dvc.dvcfile import LOCK_FILE, Lockfile
from dvc.utils.serialize import dumps_yaml, loads_yaml, modify_yaml

from nadir.pipeline.processes.lock_entries import with_entries


def entry(**changes: Any) -> OrderedDict[str, Any]:
    """A stage's entry with values that YAML writes in ways of their own."""
    dep = OrderedDict(path="src/a b/ü-é.py", hash="md5", md5="0" * 30 + "12")
    values: dict[str, Any] = {
        "cmd": "python -m nadir.stages.train --a-word-that-is-long " + "and some more " * 12,
        "deps": [dep, OrderedDict(path="1e5", md5="1234567e" + "8" * 24, size=0)],
        "params": {"params.yaml": {"train.rate": 1e-05, "train.none": None, "train.on": True}},
        "outs": [OrderedDict(path="'quoted': #", md5="e" * 32 + ".dir", nfiles=3, isexec=True)],
    }
    values["empty"] = {"": [], "text": "two\nlines\n", "no": "no"}
    return OrderedDict(values | changes)


OLD = dumps_yaml({"schema": "2.0", "stages": {n: entry(size=n) for n in ("first", "a-b", "third")}})


@pytest.mark.parametrize("name", ["first", "a-b", "third", "fourth"])
def test_what_is_written_is_what_dvc_writes(name: str, tmp_path: Any) -> None:
    path = tmp_path / LOCK_FILE
    path.write_text(OLD, encoding="utf-8")
    with modify_yaml(path) as data:
        data["stages"].update({name: entry(cmd="another")})
    assert with_entries(OLD, {name: entry(cmd="another")}) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "schema: '2.0'\n",
        "schema: '2.0'\nstages: {}\n",
        OLD + "datasets: []\n",
        OLD.replace("  a-b:", '  "a-b":'),
        OLD.replace("  a-b:", "  first:"),
        OLD.replace("  a-b:", "  # a remark\n  a-b:"),
        OLD.replace("  a-b:\n", "  a-b: &name\n"),
        OLD.replace("\n", "\r\n"),
        OLD[:-7],
    ],
)
def test_another_form_is_left_to_dvc(text: str) -> None:
    assert with_entries(text, {"first": entry(cmd="another")}) is None


def test_a_name_that_yaml_would_quote_is_left_to_dvc() -> None:
    assert with_entries(OLD, {"train@1: x": entry()}) is None


def test_dvc_asks_for_it_by_the_name_that_is_replaced() -> None:
    # Were it gone, runs would be slower, not wrong; so nothing else would tell.
    assert callable(Lockfile.dump_stages)
    assert loads_yaml(OLD)["stages"]["a-b"]["size"] == "a-b"
