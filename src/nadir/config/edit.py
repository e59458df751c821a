"""Changing `params.yaml` in place, comments kept."""

from __future__ import annotations

import copy
import difflib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from nadir.config.params import Params, disagreements
from nadir.config.reader import line_of, read_model, read_yaml
from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_path
from nadir.ground.secrets import masked
from nadir.ground.workspace import PARAMS_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_params(path: Path = Path(PARAMS_FILE)) -> Params:
    """The whole of `params.yaml`, checked across sections.

    Raises:
        NadirError: Every fault of the file.
    """
    return read_model(Params, path, disagreements=disagreements)


def set_values(assignments: Sequence[str], path: Path = Path(PARAMS_FILE)) -> list[str]:
    """Write `section.key=value` assignments; the file stays as it was if one is wrong.

    Args:
        assignments: Each `dotted.key=value`; the value is read as YAML.
        path: The parameter file.

    Returns:
        One line per value that changed: `dotted.key: old -> new`.

    Raises:
        NadirError: Every assignment that is none or has no such key, or the file would no longer be
            valid.
    """
    tree = copy.deepcopy(read_yaml(path))
    changes, faults = [], []
    for text in assignments:
        try:
            changes += _assign(tree, text, path)
        except NadirError as fault:
            faults.append(fault)
    if faults:
        raise _together(faults)
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


def _assign(tree: Any, text: str, path: Path) -> list[str]:
    """The line that reports the change; none where the value is that already."""
    key, separator, raw = text.partition("=")
    key = key.strip()
    if not separator or not all(key.split(".")):
        raise NadirError(f"`{text}` is not an assignment", fix="write section.key=value")
    if key not in _keys(tree):
        raise _unknown(key, tree, path)
    *sections, last = key.split(".")
    for section in sections:
        tree = tree[section]
    try:
        value = YAML().load(raw)  # not the safe loader, so that [1, 2] stays on its line
    except YAMLError as error:
        raise NadirError(
            f"the value of `{text}` is not valid YAML",
            fix="close every bracket, and put text with special characters in quotes",
        ) from error
    old = tree[last]
    if old == value and isinstance(old, bool) == isinstance(value, bool):
        return []
    tree[last] = value
    return [masked(f"{key}: {old} -> {value}")]


def _keys(tree: Any, prefix: str = "") -> list[str]:
    """Every dotted key, those of sections included."""
    if not isinstance(tree, dict):
        return []
    found = []
    for name, value in tree.items():
        found += [f"{prefix}{name}", *_keys(value, f"{prefix}{name}.")]
    return found


def _unknown(key: str, tree: Any, path: Path) -> NadirError:
    known = _keys(tree)
    near = difflib.get_close_matches(key, known, n=1)
    namesakes = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    if not (near or namesakes):
        return NadirError(
            f"no parameter `{key}`", where=str(path), fix="`nadir params schema` lists every key"
        )
    meant = (near or namesakes)[0]
    return NadirError(
        f"no parameter `{key}`; did you mean {meant}?",
        where=f"{path}:{line_of(tree, tuple(meant.split('.')))}",
        fix="correct the key; `nadir params schema` lists every one",
    )


def _together(faults: list[NadirError]) -> NadirError:
    if len(faults) == 1:
        return faults[0]
    lines = [f"{fault.where}: {fault.what}" if fault.where else fault.what for fault in faults]
    return NadirError(
        f"{len(faults)} faults, and nothing was changed\n  " + "\n  ".join(lines),
        fix="write section.key=value; `nadir params schema` lists every key",
    )


class _Representer(RoundTripRepresenter):
    """Writes null; one of its own, as what a representer learns holds for all of its class."""


# An empty value is null too, but looks like a mistake.
_Representer.add_representer(
    type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _writer() -> YAML:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
