"""Planted secrets and hostile texts, and a search for them over every store of a project."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

SECRET = "PlantedEverywhere77"
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": f"{SECRET}/key+1",
    "HF_TOKEN": f"{SECRET}-hub",
    "POSTGRES_PASSWORD": f"{SECRET}-base",
    "DATABASE_ADDRESS": f"postgresql://me:{SECRET}-address@db.invalid/x",
}
"""For the environment; whoever knows `SECRET` finds each of them."""

MARK = "planted88"
TAGS = f"1girl, solo, <script>{MARK}()</script>, ={MARK}(1), \x1b]0;{MARK}\x07, \u202e{MARK}"
NAMES = (f"<img src=x onerror={MARK}()>.png", f"\x1b[2J{MARK}.png", f"={MARK}.png")
"""Tags and file names; each tells itself by `MARK`."""

_ORDERS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e]|\x1b(?!\\[[0-9;]*m)"
)


def plant(folder: Path) -> None:
    """Pictures with hostile names and tags, beside others."""
    for place, name in enumerate(NAMES):
        noise = Image.effect_noise((160, 128), 60 + 20 * place).convert("RGB")
        noise.save(folder / name)
        (folder / name).with_suffix(".txt").write_text(TAGS, encoding="utf-8")


def holders(root: Path, secret: str) -> list[str]:
    """Files of a folder that hold a text: as bytes, packed in a table, or beside a picture."""
    found = [path for path in _files(root) if any(secret in text for text in _texts(path))]
    return sorted(str(path.relative_to(root)) for path in found)


def orders_in(root: Path) -> list[str]:
    """Where control characters stand raw that a log, a page or a database's row shows a person."""
    found = []
    for path in _files(root):
        if path.suffix in {".log", ".html", ".json", ".csv", ".events", ".md"}:
            found += [str(path)] * bool(_ORDERS.search(path.read_text("utf-8", errors="replace")))
        if path.suffix == ".db":
            found += [f"{path}: {place}" for place, text in _rows(path) if _ORDERS.search(text)]
    return found


def live_texts(root: Path) -> list[str]:
    """Pages in which a hostile text is markup, and tables whose cell begins as a formula."""
    found = []
    for path in _files(root):
        if path.suffix == ".html":
            reader = _Markup()
            reader.feed(path.read_text(encoding="utf-8"))
            found += [str(path)] * reader.is_live
        if path.suffix in {".csv", ".tsv"}:
            cells = re.split(r"[,\t\n]", path.read_text(encoding="utf-8"))
            found += [str(path)] * any(cell.strip('"').startswith(f"={MARK}") for cell in cells)
    return found


class _Markup(HTMLParser):
    """Whether the mark is inside a script, a style, or an attribute that runs something."""

    def __init__(self) -> None:
        super().__init__()
        self.is_live = False
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        runs = [value for name, value in attrs if name.startswith("on") or name == "style"]
        self.is_live |= any(MARK in (value or "") for value in runs)

    def handle_data(self, data: str) -> None:
        self.is_live |= self._inside == "script" and MARK in data


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _texts(path: Path) -> Iterator[str]:
    """Latin-1 keeps every byte; a planted secret is ASCII."""
    yield path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        yield str(pq.ParquetFile(path).metadata.metadata)
        for batch in pq.ParquetFile(path).iter_batches():
            yield str(batch.to_pylist())
    if path.suffix in {".png", ".jpg", ".webp"}:
        # Some of the sample's pictures are broken on purpose.
        with contextlib.suppress(OSError), Image.open(path) as image:
            image.load()
            yield repr(image.info) + repr(dict(image.getexif()))


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """(table and column, text) of every text in an SQLite database."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
        tables = [
            name for (name,) in base.execute("select name from sqlite_master where type='table'")
        ]
        for table in tables:
            cursor = base.execute(f'select * from "{table}"')
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield from (
                    (f"{table}.{n}", v)
                    for n, v in zip(names, row, strict=True)
                    if isinstance(v, str)
                )
    base.close()
