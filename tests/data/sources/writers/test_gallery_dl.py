"""What gallery-dl writes: JSON beside images, texts of tags, or both.

The first tests' files are made by gallery-dl itself (1.32.18), which downloads from a server of
this test; the others' by code that writes what its extractors `gelbooru`, `moebooru` (with the
option `tags: true`), `pixiv` and `philomena` hand to its postprocessor `metadata`.
"""

from __future__ import annotations

import html
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.data.sources.writers.posts import (
    CLASSES,
    POSTS,
    WORDS,
    Post,
    expected,
    holds_all,
    js,
    png,
    read,
    sidecars,
)
from tests.support.other_environments import run_in

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("run_gallery_dl.py")
SAFE = {"g": "safe", "s": "safe", "q": "questionable", "e": "explicit"}


def danbooru(post: Post, root: str) -> dict[str, Any]:
    return {
        "id": post.id,
        "created_at": "2024-05-01T00:00:00.000-04:00",
        "score": 12,
        "md5": f"{post.id:032x}",
        "rating": post.rating,
        "file_ext": "png",
        "tag_string": " ".join(post.tags),
        "file_url": f"{root}/files/{post.id}.png",
        **post.strings,
    }


def e621(post: Post, root: str) -> dict[str, Any]:
    """Of no class of Danbooru: species, lore, contributor, invalid."""
    own = {kind: list(post.of(kind)) for kind in CLASSES}
    file = {"md5": f"{post.id:032x}", "ext": "png", "url": f"{root}/files/{post.id}.png"}
    return {
        "id": post.id,
        "created_at": "2007-02-17T14:02:32.000-05:00",
        "file": file | {"width": 64, "height": 64, "size": 9},
        "score": {"up": 5, "down": -1, "total": 4},
        "tags": own
        | {"species": ["fox"], "lore": ["kin_(lore)"], "contributor": ["pen_z"], "invalid": ["zz"]},
        "rating": "s" if post.rating == "g" else post.rating,
        "flags": {"deleted": False},
        "pools": [],
        "sources": [],
        "relationships": {},
        "preview": {},
        "sample": {},
        "description": "",
        "locked_tags": [],
    }


def yandere(post: Post, root: str) -> dict[str, Any]:
    return {
        "id": post.id,
        "tags": " ".join(post.tags),
        "created_at": 1700000000,
        "author": "x",
        "md5": f"{post.id:032x}",
        "file_url": f"{root}/files/{post.id}.png",
        "is_shown_in_index": True,
        "rating": "s" if post.rating == "g" else post.rating,
        "score": 9,
    }


@contextmanager
def server(answer: Any) -> Iterator[str]:
    """A booru whose every listing is `answer(root)`, on its first page."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path.startswith("/files/"):
                body = png(int(Path(self.path).stem))
            else:
                body = json.dumps(answer(f"http://127.0.0.1:{served.server_port}")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{served.server_port}"
    finally:
        served.shutdown()
        thread.join()
        served.server_close()


def downloaded(folder: Path, kind: str, site: str, answer: Any, path: str, *options: str) -> None:
    with server(answer) as root:
        config = {kind: {site: {"root": root}}, "base-directory": str(folder / "source")}
        (folder / "config.json").write_text(json.dumps({"extractor": config}))
        settings = ["--config-ignore", "--config", str(folder / "config.json"), *options]
        run_in("gallery-dl", SCRIPT, *settings, f"{root}{path}")


@pytest.mark.parametrize(
    "options", [["--write-metadata"], ["--write-metadata", "--write-tags"]], ids=["json", "both"]
)
def test_danbooru_as_gallery_dl_writes_it(tmp_path: Path, root: Path, options: list[str]) -> None:
    def answer(place: str) -> Any:
        return [danbooru(post, place) for post in POSTS]

    downloaded(tmp_path, "Danbooru", "danbooru", answer, "/posts?tags=1girl", *options)
    holds_all(read(tmp_path / "source", {}, root))


@pytest.mark.parametrize(
    "options", [["--write-metadata"], ["--write-metadata", "--write-tags"]], ids=["json", "both"]
)
def test_e621_as_gallery_dl_writes_it(tmp_path: Path, root: Path, options: list[str]) -> None:
    def answer(place: str) -> Any:
        return {"posts": [e621(post, place) for post in POSTS]}

    downloaded(tmp_path, "E621", "e621", answer, "/posts?tags=fox", *options)
    result = read(tmp_path / "source", {}, root)
    holds_all(result, SAFE, general="fox", meta="kin_(lore)", artist="pen_z")


def test_yandere_as_gallery_dl_writes_it(tmp_path: Path, root: Path) -> None:
    def answer(place: str) -> Any:
        return [yandere(post, place) for post in POSTS]

    options = ["--write-metadata", "--write-tags"]
    downloaded(tmp_path, "moebooru", "yandere", answer, "/post?tags=x", *options)
    result = read(tmp_path / "source", {}, root)
    assert result.ids == [str(post.id) for post in POSTS]
    assert result.ratings == [SAFE[post.rating] for post in POSTS]
    assert [set(tags) for tags in result.tags] == [set(post.tags) for post in POSTS]


def test_the_list_of_tags_is_the_text_s_where_someone_has_edited_it(
    tmp_path: Path, root: Path
) -> None:
    def meta(post: Post) -> bytes:
        return js(danbooru(post, "https://cdn.example.org") | {"category": "danbooru"})

    files = sidecars("danbooru_{}", ".png.json", meta)
    files["danbooru_7000004.png.txt"] = b"2girls\nmio (harbour)\nnew_tag\nartist:pen_q\n"
    result = read(tmp_path / "source", files, root)
    assert result.classes(3) == {
        "general": {"2girls", "new_tag"},
        "character": {"mio_(harbour)"},
        "artist": {"pen_q"},
    }
    assert (result.ratings[3], result.ids[3]) == ("explicit", "7000004")
    files["danbooru_7000004.png.txt"] = b"\n"
    assert read(tmp_path / "empty", files, root).classes(3) == expected(POSTS[3])


def gelbooru(post: Post) -> dict[str, Any]:
    """Tags are one string with HTML entities, as the site's API gives them."""
    return {
        "id": post.id,
        "score": 0,
        "md5": f"{post.id:032x}",
        "image": f"{post.id:032x}.png",
        "rating": WORDS[post.rating],
        "tags": html.escape(" ".join(post.tags)).replace("&#x27;", "&#039;"),
        "title": "",
        "category": "gelbooru",
    }


def test_gelbooru_s_entities_are_decoded(tmp_path: Path, root: Path) -> None:
    files = sidecars("gelbooru_{}", ".png.json", lambda post: js(gelbooru(post)))
    result = read(tmp_path / "source", files, root)
    assert result.tags == [post.tags for post in POSTS]
    assert result.ratings == [WORDS[post.rating] for post in POSTS]


def test_gelbooru_s_lists_by_class_are_used(tmp_path: Path, root: Path) -> None:
    def meta(post: Post) -> bytes:
        names = {"meta": "metadata"}
        lists = {f"tags_{names.get(k, k)}": html.escape(" ".join(post.of(k))) for k in CLASSES}
        return js(gelbooru(post) | {key: tags for key, tags in lists.items() if tags})

    holds_all(read(tmp_path / "source", sidecars("gelbooru_{}", ".png.json", meta), root))


def test_yandere_s_lists_of_other_kinds_keep_their_tags(tmp_path: Path, root: Path) -> None:
    def meta(post: Post) -> bytes:
        flat = " ".join([*post.tags, "works_x"])
        lists = {f"tags_{k}": " ".join(post.of(k)) for k in CLASSES if post.of(k)}
        value = yandere(post, "") | {"tags": flat, **lists, "category": "yandere"}
        return js(value | {"tags_circle": "works_x", "tags_faults": "dust_y", "tags_note": ["z_z"]})

    result = read(tmp_path / "source", sidecars("yandere_{}", ".png.json", meta), root)
    holds_all(result, SAFE, general="works_x dust_y z_z")


def pixiv(post: Post, number: int) -> dict[str, Any]:
    return {
        "id": post.id,
        "title": "x",
        "caption": "text of the page",
        "user": {"id": 1, "name": "someone"},
        "tags": list(post.general),
        "series": {"id": 21859, "title": "a series"} if number % 2 else None,
        "x_restrict": int(post.rating == "e"),
        "rating": "R-18" if post.rating == "e" else "General",
        "category": "pixiv",
    }


def test_objects_under_names_of_classes_cost_no_image(tmp_path: Path, root: Path) -> None:
    numbers = {post: number for number, post in enumerate(POSTS)}
    files = sidecars("{}_p0", ".png.json", lambda post: js(pixiv(post, numbers[post])))
    result = read(tmp_path / "source", files, root)
    assert (result.reasons, result.ids) == ({}, [str(post.id) for post in POSTS])
    assert result.tags == [list(post.general) for post in POSTS]
    assert result.ratings == ["explicit" if post.rating == "e" else "general" for post in POSTS]


def test_derpibooru_s_namespaces_and_ratings_among_tags(tmp_path: Path, root: Path) -> None:
    words = {"g": "safe", "s": "suggestive", "q": "questionable", "e": "explicit"}

    def meta(post: Post) -> bytes:
        tags = [tag.replace("_", " ") for tag in post.general]
        tags += ["artist:pen a", "oc:my own", "species:pony", words[post.rating]]
        return js({"id": post.id, "tags": tags, "score": 3, "category": "derpibooru"})

    result = read(tmp_path / "source", sidecars("derpibooru_{}", ".png.json", meta), root)
    assert result.ratings == [words[post.rating] for post in POSTS]
    for number, post in enumerate(POSTS):
        found = result.classes(number)
        assert (found["artist"], found["character"]) == ({"pen_a"}, {"my_own"})
        assert found["general"] == {*post.general, "pony", words[post.rating]}


def test_excluded_ratings_leave_images_out_though_a_text_says_none(
    tmp_path: Path, root: Path
) -> None:
    files = sidecars("danbooru_{}", ".png.json", lambda post: js(danbooru(post, "")))
    files |= {f"danbooru_{p.id}.png.txt": "\n".join(p.tags).encode() for p in POSTS}
    result = read(tmp_path / "source", files, root, exclude_ratings=("explicit", "q"))
    assert result.reasons == {
        "danbooru_7000003.png": "rating_excluded",
        "danbooru_7000004.png": "rating_excluded",
    }
