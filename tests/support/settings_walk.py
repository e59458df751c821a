"""The settings of a section of the parameters and of all sections below it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_args

from nadir.config.base import Section

if TYPE_CHECKING:
    from collections.abc import Iterator


def settings_of(section: type[Section]) -> list[str]:
    """`Class.field` of everything that can be chosen, by the class that declares it.

    A field that is a section, or one of several, is left out: what it holds is chosen.
    """
    return list(dict.fromkeys(name for found in _sections(section) for name in _own(found)))


def _own(section: type[Section]) -> Iterator[str]:
    for owner in section.__mro__:
        for name in inspect.get_annotations(owner):
            field = section.model_fields.get(name)
            if field and not _is_section(field.annotation):
                yield f"{owner.__name__}.{name}"


def _is_section(annotation: Any) -> bool:
    """Whether it is a section or a choice among sections, never null."""
    parts = get_args(annotation) or (annotation,)
    return all(isinstance(part, type) and issubclass(part, Section) for part in parts)


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _sections(field.annotation)
    for part in get_args(annotation):
        yield from _sections(part)
