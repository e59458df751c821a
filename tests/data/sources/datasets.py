"""The same twelve tagged images in every layout that is read."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import tarfile
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from tests.support.hostile import encoded, picture

from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.gate.verdicts import screen
from nadir.data.inspection.inspection import Limits, inspect_file
from nadir.data.inspection.listing import FACTS, TAG_FACTS, ListingFacts, tag_keys
from nadir.data.inspection.tag_files import read_tag_rows
from nadir.data.quarantine import Reason
from nadir.data.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nadir.data.gate.verdicts import Screened
    from nadir.data.sources.interfaces import Listing, Source

Files = dict[str, bytes]

COUNT = 12
RATINGS = ("general", "sensitive", "questionable", "explicit")


def ending(number: int) -> str:
    return ("png", "jpg", "webp")[number % 3]


def name(number: int) -> str:
    return f"{1000 + number}.{ending(number)}"


@functools.cache
def image(number: int) -> bytes:
    form = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[ending(number)]
    return encoded(picture(500 + number), form)


def tags(number: int) -> dict[str, list[str]]:
    """Tags of an image by class; none of them is in the shipped vocabulary with another class."""
    return {
        "general": ["1girl", f"made_up_{number % 5}"],
        "character": ["someone_(somewhere)"],
        "copyright": ["somewhere"],
        "artist": [f"painter_{number}"],
        "meta": [],
    }


def prefixed(number: int) -> list[str]:
    """Tags as people write them who have text only."""
    classes = tags(number).items()
    return [tag if kind == "general" else f"{kind}:{tag}" for kind, ts in classes for tag in ts]


def md5(number: int) -> str:
    return hashlib.md5(image(number), usedforsecurity=False).hexdigest()


def post(number: int) -> dict[str, Any]:
    """A post as a booru's API gives it."""
    strings = {f"tag_string_{kind}": " ".join(ts) for kind, ts in tags(number).items()}
    everything = " ".join(tag for ts in tags(number).values() for tag in ts)
    return {
        "id": 1000 + number,
        "md5": md5(number),
        "file_ext": ending(number),
        "rating": RATINGS[number % 4][0],
        "score": number - 3,
        "tag_string": everything,
        **strings,
    }


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]], schema: pa.Schema | None = None, group: int = 5) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, row_group_size=group)
    return sink.getvalue()


def tar(members: Files) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def images() -> Files:
    return {name(i): image(i) for i in range(COUNT)}


def folder_of_text() -> Files:
    return images() | {f"{1000 + i}.txt": ", ".join(prefixed(i)).encode() for i in range(COUNT)}


def folder_of_full_names() -> Files:
    return images() | {f"{name(i)}.txt": " ".join(prefixed(i)).encode() for i in range(COUNT)}


def folder_of_json() -> Files:
    rows = {
        f"{1000 + i}.json": json.dumps({**tags(i), "rating": RATINGS[i % 4]}) for i in range(12)
    }
    return images() | {path: text.encode() for path, text in rows.items()}


def kohya_captions() -> Files:
    entries = {str(1000 + i): {"caption": ", ".join(prefixed(i))} for i in range(COUNT)}
    return images() | {"meta_cap.json": json.dumps(entries).encode()}


def kohya_latents() -> Files:
    entries = {
        name(i): {"tags": ", ".join(prefixed(i)), "caption": "", "train_resolution": [64, 64]}
        for i in range(COUNT)
    }
    earlier = json.dumps({"1000": {"caption": "an, earlier, step"}}, indent=1)
    return images() | {
        "meta_cap.json": earlier.encode(),
        "meta_lat.json": json.dumps(entries, indent=1).encode(),
    }


def image_folder(kind: str) -> Files:
    rows = [
        {
            "id": 1000 + i,
            "file_name": f"train/{name(i)}",
            "text": ", ".join(prefixed(i)),
            "rating": RATINGS[i % 4],
        }
        for i in range(COUNT)
    ]
    if kind == "jsonl":
        data = lines(rows)
    elif kind == "parquet":
        data = parquet(rows)
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode()
    return {f"train/{path}": data for path, data in images().items()} | {f"metadata.{kind}": data}


def booru_lines() -> Files:
    """Named by md5, in folders by its beginning, as downloaders do."""
    posts = lines([post(i) for i in range(COUNT)])
    files = {f"{md5(i)[:2]}/{md5(i)}.{ending(i)}": image(i) for i in range(COUNT)}
    return files | {"posts.jsonl": posts}


def booru_table() -> Files:
    """Named by id."""
    return images() | {"dump/posts.parquet": parquet([post(i) for i in range(COUNT)])}


def e621_answer() -> Files:
    posts = [
        {
            "id": 1000 + i,
            "tags": tags(i),
            "rating": RATINGS[i % 4][0],
            "score": {"up": 9, "down": -2, "total": 7},
            "file": {"md5": md5(i), "ext": ending(i)},
        }
        for i in range(COUNT)
    ]
    files = {f"{md5(i)}.{ending(i)}": image(i) for i in range(COUNT)}
    return files | {"posts.json": json.dumps({"posts": posts}).encode()}


def web_dataset() -> Files:
    """Two tars, one with text, one with JSON."""
    first = {f"{1000 + i}.txt": ", ".join(prefixed(i)).encode() for i in range(6)}
    second = {f"{1000 + i}.json": json.dumps(tags(i)).encode() for i in range(6, COUNT)}
    shards = [first, second]
    return {
        f"shard-{n}.tar": tar({name(i): image(i) for i in range(6 * n, 6 * n + 6)} | shards[n])
        for n in range(2)
    }


def table_of_paths() -> Files:
    rows = [
        {"id": str(1000 + i), "path": f"images/{name(i)}", "tags": prefixed(i)}
        for i in range(COUNT)
    ]
    files = {f"images/{path}": data for path, data in images().items()}
    return files | {"tables/all.parquet": parquet(rows)}


def table_of_bytes() -> Files:
    """As Hugging Face's `datasets` writes images."""
    cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [("image", cell), ("id", pa.int64()), ("tags", pa.list_(pa.string()))]
    rows = [
        {"image": {"bytes": image(i), "path": name(i)}, "id": 1000 + i, "tags": prefixed(i)}
        for i in range(COUNT)
    ]
    return {
        f"data/train-{n}.parquet": parquet(rows[6 * n : 6 * n + 6], pa.schema(fields), group=2)
        for n in range(2)
    }


LAYOUTS: dict[str, tuple[str, Callable[[], Files], bool]] = {
    "text beside": ("folder", folder_of_text, False),
    "text beside, full names": ("folder", folder_of_full_names, False),
    "JSON beside": ("folder", folder_of_json, True),
    "kohya captions": ("kohya", kohya_captions, False),
    "kohya latents": ("kohya", kohya_latents, False),
    "ImageFolder JSON lines": ("imagefolder", lambda: image_folder("jsonl"), True),
    "ImageFolder CSV": ("imagefolder", lambda: image_folder("csv"), True),
    "ImageFolder parquet": ("imagefolder", lambda: image_folder("parquet"), True),
    "booru JSON lines": ("booru", booru_lines, True),
    "booru parquet": ("booru", booru_table, True),
    "e621 answer": ("booru", e621_answer, True),
    "WebDataset": ("webdataset", web_dataset, False),
    "parquet of paths": ("parquet", table_of_paths, False),
    "parquet of bytes": ("parquet", table_of_bytes, False),
}
"""By name: what it must be detected as, its files, and whether it gives ratings."""


def write(folder: Path, files: Files) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


LIMITS = Limits(
    max_pixels=1_000_000, max_file_bytes=1 << 24, alpha_background=(255, 255, 255), max_seconds=600
)


def examined(source: Source, listing: Listing, root: Path, **changes: Any) -> Screened:
    """What `validate` makes of a listing, without worker processes and without memory.

    Args:
        source: What was listed.
        listing: Its images.
        root: Of the project, whose parameters are taken.
        changes: Of the section `validate`.
    """
    facts, tag_facts = [], []
    keys = tag_keys(listing.table).to_pylist()
    for row, beside in zip(listing.table.to_pylist(), keys, strict=True):
        if row["problem"]:
            facts.append({"reason": row["problem"], "detail": row["detail"]})
        else:
            key = (row["path"], row["size"], row["version"])
            facts.append(asdict(inspect_file(source, *key, limits=LIMITS)))
        key = (beside["path"], beside["size"], beside["version"])
        tag_facts += read_tag_rows(source, [key]) if beside["path"] else [{}]
    found = ListingFacts(
        pa.Table.from_pylist(facts, schema=FACTS),
        pa.Table.from_pylist(tag_facts, schema=TAG_FACTS),
        len(facts),
    )
    params = read_section("validate", ValidateParams, root / "params.yaml")
    params = params.model_copy(update=changes)
    return screen(listing.table, found, params, load_vocabulary())


def contract(screened: Screened) -> list[dict[str, Any]]:
    """The manifest less paths; the order of tags is the layout's own."""
    rows = screened.manifest.table().to_pylist()
    for row in rows:
        del row["path"]
        row["tags"] = sorted((tag["class"], tag["name"]) for tag in row["tags"])
    return rows


def reasons(screened: Screened) -> dict[str, str]:
    rows = screened.quarantine.to_pylist()
    assert all(row["detail"] and row["fix"] and Reason(row["reason"]) for row in rows)
    return {row["path"]: row["reason"] for row in rows}
