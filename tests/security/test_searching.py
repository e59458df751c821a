"""The search over a project's stores finds what it looks for, wherever it is hidden."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.support.searching import MARK, SECRET, holders, live_texts, orders_in


def test_a_secret_is_found_as_bytes_in_a_packed_table_and_beside_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff" + SECRET.encode() + b"\x00")
    pq.write_table(
        pa.table({"x": [[{"y": SECRET}]] * 3}), tmp_path / "b.parquet", compression="zstd"
    )
    note = PngInfo()
    note.add_text("note", SECRET * 50, zip=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png", pnginfo=note)
    (tmp_path / "clean.txt").write_text("PlantedEverywhere")
    assert holders(tmp_path, SECRET) == ["a.bin", "b.parquet", "c.png"]


@pytest.mark.parametrize("order", ["\x1b[2J", "\x1b]0;x\x07", "\x9b2J", "\u202e", "\x08"])
def test_orders_are_found_in_logs_and_rows_but_colours_are_none(tmp_path: Path, order: str) -> None:
    (tmp_path / "fine.log").write_text("\x1b[32mgreen\x1b[0m\ttab\r\n", encoding="utf-8")
    assert orders_in(tmp_path) == []
    (tmp_path / "bad.log").write_text(f"a{order}", encoding="utf-8")
    base = sqlite3.connect(tmp_path / "x.db")
    base.execute("create table tags (value text)")
    base.execute("insert into tags values (?)", (order,))
    base.commit()
    base.close()
    found = orders_in(tmp_path)
    assert len(found) == 2
    assert any(place.endswith("tags.value") for place in found)


@pytest.mark.parametrize(
    "text", [f"<script>{MARK}()</script>", f"<img src=x onerror='{MARK}()'>", f"<p style='{MARK}'>"]
)
def test_live_markup_and_formulas_are_found_and_escaped_ones_not(tmp_path: Path, text: str) -> None:
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    page.write_text(text.replace("<", "&lt;"))
    table.write_text(f"tag,count\n'={MARK},1\n")
    assert live_texts(tmp_path) == []
    page.write_text(text)
    table.write_text(f'tag,count\n"={MARK}",1\n')
    assert sorted(live_texts(tmp_path)) == [str(page), str(table)]
