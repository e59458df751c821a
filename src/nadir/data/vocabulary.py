"""The booru vocabulary that ships with the project: common tags and their classes.

It gives tags without a class theirs, and the tiny model's tokenizers their whole words. It is never
made from a dataset, so neither depends on whose images are trained on. The order is fixed: ids are
counted from it, and new tags go to the end of the file.
"""

from __future__ import annotations

from importlib import resources

FILE = "booru_vocabulary.txt"
"""One `tag<TAB>class` a line, beside this module."""


def load_vocabulary() -> list[tuple[str, str]]:
    """The shipped tags in their fixed order.

    Returns:
        (tag, class) pairs: lower case with underscores, each tag once; the class is one of
        `general`, `character`, `copyright`, `artist`, `meta`.
    """
    text = resources.files("nadir.data").joinpath(FILE).read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return [(tag, tag_class) for tag, tag_class in rows]
