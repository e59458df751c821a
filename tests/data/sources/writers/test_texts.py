r"""Texts beside images: those of sd-scripts, of taggers, of HakuBooru, taggui, Hydrus and waifuc.

Forms: sd-scripts' documentation of datasets (`.caption`, `|||`, `;;;`, `{a|b}`), its
`tag_images_by_wd14_tagger.py` (a rating first), the escapes of imgutils' `tags_to_text` and of
the web interface's tagger (`\(`, `\)`, `\\`), HakuBooru's `make_caption` (`|||` before the first
general tag), BooruDatasetTagManager's weights, and Hydrus' sidecars (a tag a line, with
namespaces).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.data.sources.writers.posts import POSTS, WORDS, Files, Post, js, png, read, sidecars

if TYPE_CHECKING:
    from pathlib import Path


def spaced(tags: tuple[str, ...] | list[str]) -> list[str]:
    return [tag.replace("_", " ") if len(tag) > 3 else tag for tag in tags]


def texts(*written: str, ending: str = ".txt") -> Files:
    files = {f"{number}.png": png(number) for number in range(len(written))}
    return files | {f"{number}{ending}": text.encode() for number, text in enumerate(written)}


@pytest.mark.parametrize("ending", [".caption", ".tags", ".txt", ".png.caption", ".CAPTION"])
def test_every_ending_of_a_text_is_read(tmp_path: Path, root: Path, ending: str) -> None:
    files = sidecars("style/{}", ending, lambda post: ", ".join(spaced(post.general)).encode())
    result = read(tmp_path / "source", files, root)
    assert (result.reasons, result.listing.notes) == ({}, ())
    assert result.tags == [list(post.general) for post in POSTS]


def test_a_caption_in_words_beside_tags_is_no_list_of_tags(tmp_path: Path, root: Path) -> None:
    files = texts("1girl, red scarf", "1boy, sky")
    files |= {
        "0.caption": b"a girl with a scarf stands in the snow",
        "1.caption": b"A boy looks up, the sky is wide.",
        "2.png": png(2),
        "2.caption": b"1girl, hat",
    }
    result = read(tmp_path / "source", files, root)
    assert result.tags == [["1girl", "red_scarf"], ["1boy", "sky"], ["1girl", "hat"]]


def test_a_sentence_beside_json_is_no_list_of_tags(tmp_path: Path, root: Path) -> None:
    files = texts("A picture of a girl with a red scarf", "girl with scarf", "red scarf, 1girl")
    files |= {
        f"{n}.json": js({"tags": ["1girl", "red_scarf"], "artist": ["pen"]}) for n in (0, 1, 2)
    }
    result = read(tmp_path / "source", files, root)
    assert result.tags == [["1girl", "red_scarf", "pen"]] * 2 + [["red_scarf", "1girl"]]


def test_sd_scripts_separators_and_wildcards(tmp_path: Path, root: Path) -> None:
    written = [
        "1girl, mio, harbour ||| stage, white shirt, smile ||| best quality, rating: general",
        "1girl, sky;;;cloud;;;day, outdoors",
        "1girl, {simple|white} background",
        "1girl, solo, red scarf\n1girl, solo, smile",
        "1boy ||| smile",
        "{red {long|short} hair|hat, smile}, 1girl",
        "1girl, |_|, ||_||, {}, {|wet }hair",
    ]
    result = read(tmp_path / "source", texts(*written), root)
    assert [set(tags) for tags in result.tags] == [
        {"1girl", "mio", "harbour", "stage", "white_shirt", "smile", "best_quality",
         "rating:general"},
        {"1girl", "sky", "cloud", "day", "outdoors"},
        {"1girl", "simple_background", "white_background"},
        {"1girl", "solo", "red_scarf", "smile"},
        {"1boy", "smile"},
        {"red_long_hair", "red_short_hair", "hat", "smile", "1girl"},
        {"1girl", "|_|", "||_||", "{}", "hair", "wet_hair"},
    ]  # fmt: skip
    assert result.ratings[0] == "general"


def test_hakubooru_s_captions(tmp_path: Path, root: Path) -> None:
    words = {"g": "safe", "s": "sensitive", "q": "nsfw", "e": "nsfw, explicit"}

    def caption(post: Post) -> bytes:
        kept = [*spaced(post.character), *spaced(post.artist), "newest", words[post.rating]]
        return f"{', '.join(kept)}, masterpiece, |||{', '.join(spaced(post.general))}".encode()

    result = read(tmp_path / "source", sidecars("{}", ".txt", caption), root)
    for tags, post in zip(result.tags, POSTS, strict=True):
        assert set(tags) >= {*post.general, *post.character, *post.artist}
        assert not any("|" in tag for tag in tags)
    assert result.ratings == ["safe", "sensitive", "questionable", "explicit", "safe", "safe"]


def test_taggers_escapes_and_their_rating(tmp_path: Path, root: Path) -> None:
    def caption(post: Post) -> bytes:
        tags = [
            WORDS[post.rating],
            *post.character,
            *post.general,
            "\\m/",
            "o_o",
            "stay_night_(game)",
        ]
        return (", ".join(re.sub(r"([\\()])", r"\\\1", tag) for tag in tags) + "\n").encode()

    result = read(tmp_path / "source", sidecars("{}", ".txt", caption), root)
    assert result.ratings == [WORDS[post.rating] for post in POSTS]
    assert [tags[1:] for tags in result.tags] == [
        [*post.character, *post.general, "\\m/", "o_o", "stay_night_(game)"] for post in POSTS
    ]


def test_weights_and_brackets_of_prompts(tmp_path: Path, root: Path) -> None:
    written = [
        "1girl, (long hair:1.2), [smile], {{red scarf}}",
        r"(mio_\(harbour\):0.987), (rin_(harbour):.5), ((hat:1.1):1.2)",
        "1girl, (long hair, smile:1.3), (red:1.1) scarf",
        "(9), (o)_(o), :), (16:9), [_], x_(y), nier:automata, (re:start:1.1)",
        "(1girl:1.1) (red_scarf:0.9)",
        "1girl, solo, long hair, ",
        "1Girl, Solo, Long Hair",
    ]
    result = read(tmp_path / "source", texts(*written), root)
    assert result.tags == [
        ["1girl", "long_hair", "smile", "red_scarf"],
        ["mio_(harbour)", "rin_(harbour)", "hat"],
        ["1girl", "long_hair", "smile", "red_scarf"],
        ["(9)", "(o)_(o)", ":)", "(16:9)", "[_]", "x_(y)", "nier:automata", "re:start"],
        ["1girl", "red_scarf"],
        ["1girl", "solo", "long_hair"],
        ["1girl", "solo", "long_hair"],
    ]


def test_html_entities_are_decoded_however_often(tmp_path: Path, root: Path) -> None:
    written = [
        "grabbing_another&#039;s_hat, &gt;_&lt;, :&amp;lt;, d&amp;d, d&d, a&#44;b, AT&T;, &copy"
    ]
    result = read(tmp_path / "source", texts(*written), root)
    assert result.tags == [["grabbing_another's_hat", ">_<", ":<", "d&d", "a_b", "at&t;", "&copy"]]


def test_entities_do_not_hide_a_prefix_or_a_class(tmp_path: Path, root: Path) -> None:
    files = texts("artist&#58;pen &amp; ink, 1girl")
    files["0.json"] = js({"tags_character": ["mio &#40;harbour&#41;"], "tags": ["mio_(harbour)"]})
    files["1.png"], files["1.json"] = png(1), files["0.json"]
    result = read(tmp_path / "source", files, root)
    assert result.classes(0) == {"artist": {"pen_&_ink"}, "general": {"1girl"}}
    assert result.classes(1) == {"character": {"mio_(harbour)"}}


def test_hydrus_lists_of_lines_with_namespaces(tmp_path: Path, root: Path) -> None:
    safe = {"g": "safe", "s": "safe", "q": "questionable", "e": "explicit"}

    def lines(post: Post) -> bytes:
        tags = [tag.replace("_", " ") for tag in post.general]
        tags += [f"creator:{tag}" for tag in post.artist] + [
            f"character:{t}" for t in post.character
        ]
        tags += [f"series:{tag}" for tag in post.copyright] + [f"meta:{tag}" for tag in post.meta]
        tags += ["medium:white background", "studio:works x", "species:cat", "person:someone"]
        tags += [
            "title:a picture, of sorts",
            "page:3",
            "source:https://example.org",
            "hello, world",
        ]
        return "\n".join([*tags, f"rating:{safe[post.rating]}"]).encode()

    result = read(tmp_path / "source", sidecars("{}", ".png.txt", lines), root)
    assert result.ratings == [safe[post.rating] for post in POSTS]
    for number, post in enumerate(POSTS):
        assert result.classes(number) == {
            "general": {*post.general, "white_background", "cat", "hello_world"},
            "character": {*post.character, "someone"},
            "copyright": {*post.copyright, "works_x"},
            "meta": {*post.meta, f"rating:{safe[post.rating]}"},
        } | ({"artist": set(post.artist)} if post.artist else {})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Mangaka:Pen A, Game:Harbour, Theme:Snow, oc:Mio, Studio:Works, Circle:Ring",
         ["pen_a/artist", "harbour/copyright", "snow/general", "mio/character", "works/copyright",
          "ring/copyright"]),
        ("creator: pen a\ncharacter: mio (harbour)",
         ["pen_a/artist", "mio_(harbour)/character"]),
        # Captions, one a line: their commas part tags.
        ("artist:pen a, 1girl, smile\nartist:pen a, 1girl, hat",
         ["pen_a/artist", "1girl/general", "smile/general", "hat/general"]),
        ("series:love, life\n1girl\nsmile\nhat",
         ["love_life/copyright", "1girl/general", "smile/general", "hat/general"]),
        ("re:start, :d, 3:00, source:x, title:y",
         ["re:start/general", ":d/general", "3:00/general"]),
    ],
)  # fmt: skip
def test_namespaces_of_taggers(
    tmp_path: Path, root: Path, written: str, expected: list[str]
) -> None:
    row = read(tmp_path / "source", texts(written), root).rows[0]
    assert [f"{tag['name']}/{tag['class']}" for tag in row["tags"]] == expected


@pytest.mark.parametrize(
    ("written", "rating"),
    [
        ("1girl, rating: explicit", "explicit"),
        ("1girl, rating_explicit", "explicit"),
        ("1girl, rating:e", "explicit"),
        ("1girl, Rating:Questionable", "questionable"),
        ("explicit, 1girl", "explicit"),
        ("1girl, nsfw, explicit", "explicit"),
        ("1girl, nsfw", "questionable"),
        ("1girl, sfw", "safe"),
        ("1girl, R-18", "explicit"),
        ("1girl, r18g", "explicit"),
        ("1girl, rating:3", "explicit"),
        ("1girl, rating:e_(meta)", "explicit"),
        ("1girl, rating:s", "sensitive"),
        ("1girl, rating: safe, explicit", "safe"),
        ("general, 1girl, sensitive", "sensitive"),
        ("rating_stars, 1girl, operating", None),
    ],
)
def test_ratings_as_captions_say_them(
    tmp_path: Path, root: Path, written: str, rating: str | None
) -> None:
    assert read(tmp_path / "source", texts(written), root).ratings == [rating]
    if rating == "explicit":
        found = read(tmp_path / "source", {}, root, exclude_ratings=("explicit",))
        assert found.reasons == {"0.png": "rating_excluded"}
