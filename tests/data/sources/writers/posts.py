"""Six posts that every writer's form is made of, and what becomes of them."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.data.sources.datasets import examined, write
from tests.support.hostile import encoded, picture

from nadir.data.sources.detect import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.gate.verdicts import Screened
    from nadir.data.sources.interfaces import Listing

Files = dict[str, bytes]
CLASSES = ("general", "character", "copyright", "artist", "meta")


class Post(NamedTuple):
    """A post of a booru; no name in it is in the vocabulary but with its own class."""

    id: int
    rating: str
    general: tuple[str, ...]
    character: tuple[str, ...] = ()
    copyright: tuple[str, ...] = ()
    artist: tuple[str, ...] = ()
    meta: tuple[str, ...] = ()

    def of(self, kind: str) -> tuple[str, ...]:
        found: tuple[str, ...] = getattr(self, kind)
        return found

    @property
    def tags(self) -> list[str]:
        return sorted(tag for kind in CLASSES for tag in self.of(kind))

    @property
    def strings(self) -> dict[str, str]:
        """As Danbooru's API has them."""
        return {f"tag_string_{kind}": " ".join(self.of(kind)) for kind in CLASSES}


POSTS = (
    Post(
        7000001, "g", ("1girl", "red_scarf", "smile"), ("mio_(harbour)",), ("harbour",), ("pen_a",)
    ),
    Post(7000002, "s", ("1girl", ">_<", "hat"), ("rin_(harbour)",), ("harbour",), ("pen_b_(x)",)),
    Post(7000003, "q", ("1boy", "sky"), ("toma",), ("hill/valley",), ("pen_c",), ("bad_scan",)),
    Post(7000004, "e", ("2girls", "bed"), ("mio_(harbour)", "rin_(harbour)"), ("harbour",)),
    Post(7000005, "g", ("1girl", "holding_another's_hat", "^_^"), (), ("re:start",), ("pen_a",)),
    Post(7000006, "g", ("scenery", "no_humans", "tree")),
)
WORDS = {"g": "general", "s": "sensitive", "q": "questionable", "e": "explicit"}


@functools.cache
def png(seed: int) -> bytes:
    return encoded(picture(seed), "PNG")


def js(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=4).encode()


def sidecars(name: str, ending: str, make: Any) -> Files:
    """An image of each post, and beside it what `make` makes of the post.

    Args:
        name: Of an image, without ending; `{}` is the post's id.
        ending: Of the file beside it, behind that name.
        make: Bytes of a post.
    """
    files = {f"{name.format(post.id)}.png": png(post.id) for post in POSTS}
    return files | {f"{name.format(post.id)}{ending}": make(post) for post in POSTS}


class Result(NamedTuple):
    """Images that are used, and the rest."""

    screened: Screened
    listing: Listing

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Used images, by path."""
        return sorted(self.screened.manifest.table().to_pylist(), key=lambda row: str(row["path"]))

    @property
    def reasons(self) -> dict[str, str]:
        rows = self.screened.quarantine.to_pylist()
        assert all(row["detail"] and row["fix"] for row in rows)
        return {row["path"]: row["reason"] for row in rows}

    @property
    def tags(self) -> list[list[str]]:
        """Names of each used image's tags, as they stand."""
        return [[tag["name"] for tag in row["tags"]] for row in self.rows]

    @property
    def ratings(self) -> list[str | None]:
        return [row["rating"] for row in self.rows]

    @property
    def ids(self) -> list[str]:
        return [row["record_id"] for row in self.rows]

    def classes(self, number: int) -> dict[str, set[str]]:
        """Tags of a used image by class."""
        found: dict[str, set[str]] = {}
        for tag in self.rows[number]["tags"]:
            found.setdefault(tag["class"], set()).add(tag["name"])
        return found


def read(folder: Path, files: Files, root: Path, layout: str = "auto", **changes: Any) -> Result:
    """What `ingest` and `validate` make of files, with changes of the section `validate`."""
    source = open_source(str(write(folder, files)), layout, memory=folder.parent / "memory")
    listing = source.list_images()
    return Result(examined(source, listing, root, **changes), listing)


def expected(post: Post, **more: str) -> dict[str, set[str]]:
    """Tags of a post by class, with further ones of some classes."""
    found = {kind: set(post.of(kind)) | set(more.get(kind, "").split()) for kind in CLASSES}
    return {kind: tags for kind, tags in found.items() if tags}


def holds_all(result: Result, ratings: dict[str, str] | None = None, **more: str) -> None:
    """Every post is used with its tags, classes, rating and id, and nothing else is said."""
    assert result.reasons == {}
    assert result.ids == [str(post.id) for post in POSTS]
    assert [result.classes(number) for number in range(6)] == [
        expected(post, **more) for post in POSTS
    ]
    words = WORDS if ratings is None else ratings
    assert result.ratings == [words.get(post.rating) for post in POSTS]
