from __future__ import annotations

from nadir.data.vocabulary import load_vocabulary


def test_tags_are_lower_case_words_with_underscores_each_once() -> None:
    tags = [tag for tag, _ in load_vocabulary()]
    assert len(tags) == len(set(tags))
    for tag in tags:
        assert tag == tag.lower().strip()
        assert tag.isascii()
        assert not set(tag) & set(" ,\t")


def test_there_are_several_hundred_tags_of_known_classes() -> None:
    rows = load_vocabulary()
    assert 600 <= len(rows) <= 1100
    classes = {tag_class for _, tag_class in rows}
    assert classes == {"general", "character", "copyright", "artist", "meta"}


def test_the_most_common_booru_tags_are_known() -> None:
    known = dict(load_vocabulary())
    common = ["1girl", "1boy", "solo", "long_hair", "blue_eyes", "smile", "looking_at_viewer"]
    assert {known[tag] for tag in common} == {"general"}
    assert known["masterpiece"] == known["absurdres"] == "meta"
