"""`params.yaml` to models; all faults of a file are reported at once, each with its line."""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from nadir.ground.errors import NadirError
from nadir.ground.workspace import PARAMS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import ErrorDetails

    Location = tuple[int | str, ...]

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> Any:
    """Parse YAML keeping comments and line numbers; the root must be a mapping.

    The tree is shared with all that read the same text later in this process: change a copy of it.

    Raises:
        NadirError: No such file, or no valid YAML mapping.
    """
    if not path.is_file():
        raise NadirError(
            "no such parameter file", where=str(path), fix="copy presets/tiny.yaml to params.yaml"
        )
    try:
        tree = _parsed(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise NadirError(
            f"not valid YAML: {error.problem}", where=where, fix="correct the line"
        ) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise NadirError(
            f"not readable as YAML in UTF-8: {str(error).splitlines()[0]}",
            where=str(path),
            fix="save the file as UTF-8, without control characters",
        ) from error
    if not isinstance(tree, dict):
        raise NadirError(
            "the file holds no sections", where=str(path), fix="copy presets/tiny.yaml over it"
        )
    return tree


@functools.lru_cache(maxsize=4)
def _parsed(text: str) -> Any:
    """Remembered, since one command reads many sections, each of which would parse the whole file.

    By what the file holds and not by its time: a file may be written twice within a tick of the
    clock.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    return yaml.load(text)


def read_section(name: str, model: type[Model], path: Path = Path(PARAMS_FILE)) -> Model:
    """One section of `params.yaml` as its model.

    Stages use this, so that a stage depends on the models of its own sections alone.

    Raises:
        NadirError: Every fault of the section.
    """
    tree = read_yaml(path)
    if name not in tree:
        raise NadirError(
            f"section `{name}` is missing", where=str(path), fix="copy it from presets/tiny.yaml"
        )
    return _parse(model, tree[name], tree, (name,), path)


def read_model(
    model: type[Model],
    path: Path = Path(PARAMS_FILE),
    *,
    disagreements: Callable[[Model], list[tuple[str, str]]] = lambda _: [],
) -> Model:
    """The whole file as `model`.

    Args:
        model: One field per section.
        path: The file.
        disagreements: Gives the faults between sections as (dotted key, text); it also gets a model
            that lacks the sections with faults of their own.

    Raises:
        NadirError: Every fault of the file.
    """
    tree = read_yaml(path)
    parsed, faults = _validated(model, tree, tree, (), path)
    between = disagreements(parsed or _sound_sections(model, tree))
    for key, text in between:
        faults.append(f"{_place(tree, tuple(key.split('.')), path)} - {text}")
    if parsed is None or faults:
        raise _faults(faults, path)
    return parsed


def _sound_sections(model: type[Model], tree: Any) -> Model:
    """The model without its faulty sections."""
    sound = {}
    for name, field in model.model_fields.items():
        with contextlib.suppress(ValidationError, KeyError):
            section = json.dumps(tree[field.alias or name], default=str)
            sound[name] = _models_inside(field.annotation)[0].model_validate_json(section)
    return model.model_construct(**sound)


def _parse(model: type[Model], value: Any, tree: Any, prefix: Location, path: Path) -> Model:
    parsed, faults = _validated(model, value, tree, prefix, path)
    if parsed is None:
        raise _faults(faults, path)
    return parsed


def _validated(
    model: type[Model], value: Any, tree: Any, prefix: Location, path: Path
) -> tuple[Model | None, list[str]]:
    """The model, or the faults that keep it from being one."""
    try:
        # Through JSON, where strict mode takes a list for a tuple but still no "3" for a 3.
        # What YAML takes for a date is text to every parameter.
        return model.model_validate_json(json.dumps(value, default=str)), []
    except ValidationError as error:
        return None, [_describe(fault, model, tree, prefix, path) for fault in error.errors()]


def _faults(lines: list[str], path: Path) -> NadirError:
    count = f"{len(lines)} faults" if len(lines) > 1 else "1 fault"
    return NadirError(
        f"{count}\n  " + "\n  ".join(lines),
        where=str(path),
        fix="`nadir params schema` prints every key with its meaning and allowed values",
    )


def _place(tree: Any, location: Location, path: Path) -> str:
    dotted = ".".join(str(part) for part in location) or "file"
    line = line_of(tree, location)
    return f"{path.name}:{line} {dotted}" if line else f"{path.name} {dotted}"


def _describe(
    fault: ErrorDetails,
    model: type[BaseModel],
    tree: Any,
    prefix: Location,
    path: Path,
) -> str:
    location, keys = _in_file(model, fault["loc"])
    place = _place(tree, (*prefix, *location), path)
    if fault["type"] == "extra_forbidden":
        return f"{place} - unknown key{_suggest(str(location[-1]), keys)}"
    if fault["type"] == "missing":
        return f"{place} - missing; presets/tiny.yaml shows a value"
    message = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    if fault["type"] == "union_tag_not_found":
        return f"{place} - {fault['ctx']['discriminator']} is missing"
    if fault["type"] in ("literal_error", "union_tag_invalid"):
        choices = fault["ctx"].get("expected") or fault["ctx"]["expected_tags"]
        given = fault["ctx"].get("tag", given)
        allowed = [v.strip(" '") for v in choices.replace(" or ", ",").split(",")]
        hint = _suggest(str(given), allowed)
        return f"{place} - {given!r} is none of {', '.join(allowed)}{hint}"
    shown = "" if isinstance(given, dict | list) else f" (got {given!r})"
    return f"{place} - {message[:1].lower()}{message[1:]}{shown}"


def _suggest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"


def _in_file(model: type[BaseModel], location: Location) -> tuple[Location, list[str]]:
    """A fault's location as the file has it, and the keys of the section that it lies in.

    Where a section has several forms, pydantic puts the name of the form into the location.
    """
    current: Any = model
    found: list[int | str] = []
    keys: list[str] = []
    parts = iter(location)
    for part in parts:
        found.append(part)
        if isinstance(part, int) or current is None:
            continue
        fields = {(field.alias or name): field for name, field in current.model_fields.items()}
        keys = list(fields)
        field = fields.get(part)
        forms = _models_inside(field.annotation) if field else []
        current = forms[0] if forms else None
        if field and field.discriminator:
            form = next(parts, None)
            kinds = {m: m.model_fields[str(field.discriminator)].annotation for m in forms}
            current = next((m for m in forms if form in typing.get_args(kinds[m])), None)
    return tuple(found), keys


def _models_inside(annotation: Any) -> list[Any]:
    """The models in an annotation such as `tuple[Model, ...]` or `Model | Other`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models_inside(argument)]


def line_of(tree: Any, location: Location) -> int | None:
    """1-based line of a key in the file, or of its nearest parent that has one."""
    line = None
    for part in location:
        marks = getattr(getattr(tree, "lc", None), "data", None) or {}
        if part in marks:
            line = marks[part][0] + 1
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            break
    return line
