"""Changing `params.yaml` in place, comments kept."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nadir.config.params import Params
from nadir.config.reader import read_model, read_yaml
from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_path
from nadir.ground.workspace import PARAMS_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_params(path: Path = Path(PARAMS_FILE)) -> Params:
    """The whole of `params.yaml`, checked across sections.

    Raises:
        NadirError: Every fault of the file.
    """
    return read_model(Params, path)


def set_values(assignments: Sequence[str], path: Path = Path(PARAMS_FILE)) -> list[str]:
    """Write `section.key=value` assignments; the file stays as it was if one is wrong.

    Args:
        assignments: Each `dotted.key=value`; the value is read as YAML.
        path: The parameter file.

    Returns:
        One line per value that changed: `dotted.key: old -> new`.

    Raises:
        NadirError: No such key, or the file would no longer be valid.
    """
    tree = read_yaml(path)
    changes = [line for text in assignments if (line := _assign(tree, text, path))]
    if not changes:
        return []
    buffer = io.StringIO()
    _writer().dump(tree, buffer)
    with atomic_path(path) as temporary:
        temporary.write_text(buffer.getvalue(), encoding="utf-8")
        try:
            read_params(temporary)
        except NadirError as error:
            what = error.what.replace(temporary.name, path.name)
            raise NadirError(what, where=f"{path} (unchanged)", fix=error.fix) from None
    return changes


def _assign(tree: Any, text: str, path: Path) -> str | None:
    key, separator, raw = text.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise NadirError(f"`{text}` is no assignment", fix="write section.key=value")
    for part in parts[:-1]:
        if not isinstance(tree, dict) or part not in tree:
            raise _unknown(key, path)
        tree = tree[part]
    if not isinstance(tree, dict) or parts[-1] not in tree:
        raise _unknown(key, path)
    try:
        value = YAML().load(raw)  # not the safe loader, so that [1, 2] stays on its line
    except YAMLError as error:
        raise NadirError(
            f"the value of `{text}` is not valid YAML",
            fix="close every bracket, and put text with special characters in quotes",
        ) from error
    old = tree[parts[-1]]
    if old == value and isinstance(old, bool) == isinstance(value, bool):
        return None
    tree[parts[-1]] = value
    return f"{key}: {old} -> {value}"


def _unknown(key: str, path: Path) -> NadirError:
    return NadirError(
        f"no parameter `{key}`", where=str(path), fix="`nadir params schema` lists every key"
    )


def _writer() -> YAML:
    yaml = YAML()
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    # An empty value is null too, but looks like a mistake.
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml
