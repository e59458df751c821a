"""Six posts, their pictures, and what ingest and validate make of a folder that holds them."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.data.sources.datasets import examined, reasons, write
from tests.support.hostile import encoded, picture

from nadir.data.sources.detect import open_source

if TYPE_CHECKING:
    from pathlib import Path

FORMS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
CLASSES = ("general", "character", "copyright", "artist", "meta")
_FACTS = [
    ("1girl solo red_hair", "miku_(made_up)", "made_up_series", "someone_a", "made_up_meta", "g"),
    ("1girl hat outdoors", "saber_(made_up)", "made_up_saga", "someone_b", "", "s"),
    ("1boy solo sky", "kirito_(made_up)", "made_up_art", "someone_c", "", "q"),
    ("2girls flower ^_^", "reimu_(made_up)", "made_up_game", "someone_d", "", "e"),
    ("1girl cat_ears", "", "re:made_up", "someone_e", "", "g"),
    ("scenery tree", "", "", "", "made_up_meta", "s"),
]
POSTS = [
    {"id": 9_000_001 + n, "rating": facts[-1], **dict(zip(CLASSES, facts, strict=False))}
    for n, facts in enumerate(_FACTS)
]
WORDS = {"g": "general", "s": "sensitive", "q": "questionable", "e": "explicit"}


@functools.cache
def pixels(number: int, ending: str = "png") -> bytes:
    """The picture of a post."""
    return encoded(picture(7_000 + number), FORMS[ending])


def md5(number: int, ending: str = "png") -> str:
    """The hash of a post's picture."""
    return hashlib.md5(pixels(number, ending), usedforsecurity=False).hexdigest()


def strings(post: dict[str, Any]) -> dict[str, Any]:
    """A post's tags as Danbooru gives them."""
    every = " ".join(post[kind] for kind in CLASSES if post[kind])
    by_class = {f"tag_string_{kind}": post[kind] for kind in CLASSES}
    return {"id": post["id"], "rating": post["rating"], "tag_string": every, **by_class}


def general(post: dict[str, Any]) -> str:
    """A post's general tags as a caption."""
    return str(post["general"]).replace(" ", ", ")


@dataclass(frozen=True)
class Outcome:
    """What became of a folder.

    Attributes:
        format: The layout it was read by.
        tags: Of each used image, by path: its tags, sorted.
        classes: Of each used image, by path: (class, tag), sorted.
        ratings: Of each used image, by path.
        ids: Of each used image, by path.
        repeats: Of each used image, by path.
        reasons: Of what is in quarantine, by path.
        notes: All that the log says.
    """

    format: str
    tags: dict[str, list[str]]
    classes: dict[str, list[tuple[str, str]]]
    ratings: dict[str, str | None]
    ids: dict[str, str]
    repeats: dict[str, int | None]
    reasons: dict[str, str]
    notes: str


def outcome(where: Path, root: Path, layout: str = "auto", **settings: Any) -> Outcome:
    """List and examine what lies at a place."""
    source = open_source(str(where), layout, **settings)
    listing = source.list_images()
    result = examined(source, listing, root)
    rows = result.manifest.table().to_pylist()
    return Outcome(
        listing.format,
        {row["path"]: sorted(tag["name"] for tag in row["tags"]) for row in rows},
        {row["path"]: sorted((tag["class"], tag["name"]) for tag in row["tags"]) for row in rows},
        {row["path"]: row["rating"] for row in rows},
        {row["path"]: row["record_id"] for row in rows},
        {row["path"]: row["repeats"] for row in rows},
        reasons(result),
        "; ".join((*listing.notes, *listing.warnings)),
    )


def of_files(
    folder: Path, files: dict[str, bytes], root: Path, layout: str = "auto", **settings: Any
) -> Outcome:
    """Write files and examine them."""
    return outcome(write(folder / "source", files), root, layout, **settings)


def classes_of(number: int) -> list[tuple[str, str]]:
    """(class, tag) of a post, sorted."""
    post = POSTS[number]
    return sorted((kind, tag) for kind in CLASSES for tag in str(post[kind]).split())
