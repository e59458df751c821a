"""Aliases and implications: what a name stands for, and rules that make no sense."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nadir.data.tables import TAG_RULES
from nadir.data.tags.rules import TagRules
from nadir.data.tags.supplied_rules import load_tag_rules
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path


def test_chains_of_aliases_are_followed_and_hold_in_implications() -> None:
    rules = TagRules(
        [("a", "b"), ("b", "c")], [("b", "d"), ("d", "e"), ("c", "f"), ("x", "a"), ("a", "c")]
    )
    assert rules.tags("a") == ("c", "d", "f", "e")
    assert rules.tags("c") == ("c", "d", "f", "e")
    assert rules.tags("x") == ("x", "c", "d", "f", "e")
    assert rules.tags("other") == ("other",)


def test_a_long_chain_needs_no_recursion() -> None:
    pairs = [(f"t{n}", f"t{n + 1}") for n in range(3000)]
    assert TagRules(pairs, []).tags("t0") == ("t3000",)
    assert len(TagRules([], pairs).tags("t0")) == 3001


@pytest.mark.parametrize(
    ("aliases", "implications", "message"),
    [
        ([("a", "b"), ("b", "a")], [], "aliases go in a circle: `[ab]` -> `[ab]` -> `[ab]`"),
        ([], [("a", "b"), ("b", "c"), ("c", "a")], "implications go in a circle"),
        ([("x", "a")], [("a", "b"), ("b", "x")], "implications go in a circle"),
        ([("a", "b"), ("a", "c")], [], "`a` stands for `b` and for `c`"),
    ],
)
def test_rules_that_contradict_each_other_are_named(
    aliases: list[tuple[str, str]], implications: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises(NadirError, match=message) as caught:
        TagRules(aliases, implications)
    key = "ingest.tag_implications" if not aliases or implications else "ingest.tag_aliases"
    assert key in str(caught.value)


def parquet(**columns: list[Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("r.csv", b"name,tag\nKitty Ears,cat ears\nsame,same\n"),
        (
            "s.csv",
            b"antecedent_name,consequent_name,status\nkitty_ears,cat_ears,active\ngone,x,deleted\n",
        ),
        ("r.parquet", parquet(tag=["cat_ears"], name=["kitty_ears"])),
    ],
)
def test_tables_of_several_kinds_are_read(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    table = load_tag_rules(str(path), None)
    assert table.schema.equals(TAG_RULES)
    assert table.to_pylist() == [{"kind": "alias", "name": "kitty_ears", "tag": "cat_ears"}]
    implied = TagRules.of_table(load_tag_rules(None, str(path)))
    assert implied.tags("kitty_ears") == ("kitty_ears", "cat_ears")


def test_no_tables_are_an_empty_one() -> None:
    assert load_tag_rules(None, None).equals(TAG_RULES.empty_table())


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("r.csv", b"from,to\na,b\n", "has the columns from, to, not name and tag"),
        ("r.csv", b"name,tag\na,\n", "line 2: a rule needs a name and a tag"),
        ("r.csv", b"name,tag\na\n", "line 2: the line has too few cells"),
        ("r.csv", b"name,tag,status\na,b,active\nc,d\n", "line 3: the line has too few cells"),
        ("r.csv", b"name,tag,status\na,b,\n", "line 2: the rule has no status"),
        ("r.csv", b'name,tag\na,"b\nc,d\n', "table of aliases is not UTF-8 CSV: unexpected end"),
        ("r.parquet", parquet(name=["a"], tag=["b"], status=pa.array([None], pa.string())),
         "row 1: the rule has no status"),
        ("r.csv", b"\xff\xfe\x00", "not UTF-8 CSV"),
        ("r.parquet", b"nothing", "not a parquet file"),
        ("r.csv", b"name,tag\na,b\nb,a\n", "aliases go in a circle"),
    ],
)  # fmt: skip
def test_a_table_that_makes_no_sense_is_one_clear_error(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(NadirError, match=message):
        load_tag_rules(str(path), None)


def test_a_missing_table_is_called_what_it_is(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.csv")
    text = r"params.yaml ingest\.tag_implications: the table of implications .* cannot be read"
    with pytest.raises(NadirError, match=text):
        load_tag_rules(None, missing)
    with pytest.raises(NadirError, match=r"ingest\.tag_aliases: the table of aliases .* cannot"):
        load_tag_rules(missing, None)


def test_a_table_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/blob").write_text("name,tag\na,b\n")
    (tmp_path / "near").mkdir()
    (tmp_path / "near/r.csv").symlink_to(tmp_path / "far/blob")
    assert load_tag_rules(str(tmp_path / "near/r.csv"), None).num_rows == 1
