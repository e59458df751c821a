"""The code that draws with a version, as a package of the version's own.

It is the part of `nadir` that serving imports, under a name that holds the hash of its content. So
it meets no other `nadir`: neither one that is installed, nor that of a clone, nor another version's
in the same process.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import nadir
from nadir.ground.files import write_text
from nadir.ground.import_closure import PACKAGE, foreign_packages, import_closure

_ENTRY = f"{PACKAGE}.serving.model_code"
# The pipeline's rooms: a version that is a pointer needs them, a copy does not.
_LEFT_OUT = tuple(f"{PACKAGE}.{room}" for room in ("tracking", "pipeline"))
_IMPORT = re.compile(rf"^(\s*from ){PACKAGE}(?=[. ])", re.MULTILINE)
# Not nothing: a file without a byte is sent in chunks, which not every proxy passes on.
_EMPTY = '"""Part of what a version draws with."""\n'


@dataclass(frozen=True)
class ServedCode:
    """The modules that serving a copy needs.

    Attributes:
        package: Their package's name in a version.
        files: Text by path below the package.
        imports: Top-level names of other packages that they import.
    """

    package: str
    files: dict[str, str]
    imports: frozenset[str]

    def renamed(self, text: str) -> str:
        """A module's text with its imports from the version's own package."""
        return _IMPORT.sub(rf"\g<1>{self.package}", text)

    def write(self, folder: Path) -> Path:
        """Write the package into a folder; returns the package's own."""
        for name, text in self.files.items():
            write_text(folder / self.package / name, self.renamed(text))
        return folder / self.package


@functools.cache
def served_code() -> ServedCode:
    """What this very code would be in a version."""
    home = Path(nadir.__file__).parent
    found = import_closure(_ENTRY, home.parent, exempt=_LEFT_OUT)
    files = {path.relative_to(home).as_posix(): path.read_text("utf-8") for path in found}
    for name in list(files):
        for parent in Path(name).parents:
            files.setdefault((parent / "__init__.py").as_posix(), _EMPTY)
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{files[name]}\0".encode())
    package = f"{PACKAGE}_{digest.hexdigest()[:12]}"
    return ServedCode(package, files, frozenset(foreign_packages(found)))
