"""Which versions an image took part in, by the manifest that each was trained with."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.ground.errors import NadirError
from nadir.ground.files import file_hash
from nadir.pipeline.lineage.locks import (
    NotFoundError,
    manifest_md5,
    object_file,
    version_lock,
)
from nadir.pipeline.storage.objects import cache_folder
from nadir.tracking.registry.all_versions import registered_versions

if TYPE_CHECKING:
    from nadir.tracking.registry.versions import Version

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COLUMNS = ["sha256", "path", "split"]


@dataclass(frozen=True)
class Part:
    """A version and what the image was to it.

    Attributes:
        name: The registered model.
        version: Its number.
        aliases: That point to it.
        path: Where the image lay, relative to the source.
        split: `train`, or `holdout` of one that was only measured with.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    path: str = ""
    split: str = ""


@dataclass(frozen=True)
class Uses:
    """What became of one image.

    Attributes:
        sha256: Of the file's bytes.
        versions: That it took part in, newest last.
        without: Versions whose manifest does not have it.
        unknown: Versions whose manifest is nowhere, with the reason.
    """

    sha256: str
    versions: list[Part] = field(default_factory=list)
    without: list[Part] = field(default_factory=list)
    unknown: list[tuple[Part, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        names = ("name", "version", "aliases")
        return {
            "sha256": self.sha256,
            "versions": [asdict(part) for part in self.versions],
            "without": [{name: getattr(part, name) for name in names} for part in self.without],
            "unknown": [
                {**{name: getattr(part, name) for name in names}, "reason": reason}
                for part, reason in self.unknown
            ],
        }


def image_hash(text: str) -> str:
    """The sha256 that a text is, or that of the file it names.

    Raises:
        NadirError: It is neither.
    """
    path = Path(text).expanduser()
    try:
        if path.is_file():
            return file_hash(path)
    except OSError as error:
        raise NadirError(f"the file cannot be read: {error}", where=text) from error
    if _SHA256.fullmatch(text.lower()):
        return text.lower()
    raise NadirError(
        "neither a file nor a sha256 of 64 hexadecimal digits",
        where=text,
        fix="name the picture's file, or copy its sha256 from data/manifest.parquet",
    )


def uses_of(sha256: str, root: Path) -> Uses:
    """Every registered version that an image took part in.

    Args:
        sha256: Of the file's bytes.
        root: The project's root.

    Raises:
        NadirError: The registry cannot be asked.
    """
    cache = cache_folder(root)
    uses = Uses(sha256)
    found: dict[str, pa.Table | str] = {}  # versions that share a manifest read it once
    for version in registered_versions(root):
        part = Part(version.name, version.version, version.aliases)
        try:
            md5 = manifest_md5(version_lock(version, root))
        except NotFoundError as error:
            uses.unknown.append((part, str(error)))
            continue
        if md5 not in found:
            found[md5] = _rows(sha256, md5, root, cache)
        _sort_in(uses, version, found[md5])
    return uses


def _rows(sha256: str, md5: str, root: Path, cache: Path) -> pa.Table | str:
    """The image's rows of a manifest, or why it cannot be read."""
    try:
        path = object_file("manifest", md5, root, cache)
        return pq.read_table(path, columns=_COLUMNS, filters=[("sha256", "=", sha256)])
    except NotFoundError as error:
        return str(error)
    except (pa.ArrowException, OSError) as error:
        return f"manifest: {md5} cannot be read: {str(error)[:200]}"


def _sort_in(uses: Uses, version: Version, rows: pa.Table | str) -> None:
    part = Part(version.name, version.version, version.aliases)
    if isinstance(rows, str):
        uses.unknown.append((part, rows))
    elif rows.num_rows:
        row = rows.slice(0, 1).to_pylist()[0]
        uses.versions.append(Part(part.name, part.version, part.aliases, row["path"], row["split"]))
    else:
        uses.without.append(part)
