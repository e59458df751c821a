"""What a module may load: files of the package, by its imports, and other packages by name.

Imports anywhere in a module count, also inside functions; those for type checkers do not. Modules
that are named in a text, as programs to launch are, count as imported, and so do data files of the
package that a module names.
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PACKAGE = "nadir"


def import_closure(module: str, source: Path, *, exempt: tuple[str, ...] = ()) -> list[Path]:
    """Files of the package that running `module` may load, itself included.

    Args:
        module: Dotted name, such as `nadir.stages.train`.
        source: The folder that holds the package (`src`).
        exempt: Beginnings of names of modules that are not followed.

    Returns:
        Paths, sorted.

    Raises:
        NadirError: No such module.
    """
    if _file_of(module, source) is None:
        raise NadirError(f"no module `{module}`", where=str(source), fix="correct the stage's cmd")
    files: set[Path] = set()
    texts: set[str] = set()
    seen: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        file = _file_of(name, source)
        if name in seen or file is None or name.startswith(exempt):
            continue
        seen.add(name)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if _has_code(tree):
            files.add(file)
        texts |= _texts(tree)
        queue.extend(_named_modules(tree))
        queue.extend(_parents(name))
    files |= _named_data_files(texts, source / PACKAGE)
    return sorted(files)


def foreign_packages(files: Iterable[Path]) -> set[str]:
    """Top-level names that modules import, but for the standard library and this package."""
    found: set[str] = set()
    for file in files:
        if file.suffix != ".py":
            continue
        for node in _run_time_nodes(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {PACKAGE}


def _file_of(module: str, source: Path) -> Path | None:
    path = source.joinpath(*module.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    package = path / "__init__.py"
    return package if package.is_file() else None


def _parents(module: str) -> Iterator[str]:
    """Importing a module runs the `__init__` of each package around it."""
    parts = module.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


def _has_code(tree: ast.Module) -> bool:
    """Whether there is more than a docstring and a version number, as in most `__init__` files."""
    return any(not _is_inert(node) for node in tree.body)


def _is_inert(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__"
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) == "__version__"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield from _run_time_nodes(other)
            continue
        yield node
        yield from _run_time_nodes(node)


def _named_modules(tree: ast.Module) -> Iterator[str]:
    for node in _run_time_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value.partition(":")[0]
            if text.startswith(f"{PACKAGE}.") and text.replace(".", "").isidentifier():
                yield text


def _texts(tree: ast.Module) -> set[str]:
    nodes = _run_time_nodes(tree)
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _named_data_files(texts: set[str], package: Path) -> set[Path]:
    """Files other than Python that a text names by their file name, and those that they name."""
    candidates = {
        path
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".typed"}
    }
    named = {path for path in candidates if path.name in texts}
    while True:
        contents = [path.read_text(encoding="utf-8") for path in named]
        more = {p for p in candidates - named if any(f'"{p.name}"' in text for text in contents)}
        if not more:
            return named
        named |= more
