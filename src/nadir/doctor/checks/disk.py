"""Room on the disk, and how DVC's cache shares files with the workspace."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.doctor.finding import Check, Finding, failed, ok, warning

if TYPE_CHECKING:
    from nadir.doctor.scene import Scene

_GIB = 1 << 30
_LEAST_BYTES, _LOW_BYTES = _GIB // 2, 10 * _GIB
_LEAST_FILES, _LOW_FILES = 1000, 20_000
_FREE = "`nadir clean --dry-run` says what can go, `nadir clean` removes it"


def _space(scene: Scene) -> Finding:
    usage = shutil.disk_usage(scene.root)
    told = f"{usage.free / _GIB:.1f} of {usage.total / _GIB:.1f} GiB are free"
    if usage.free < _LEAST_BYTES:
        return failed(told, f"free the disk: {_FREE}")
    if usage.free < _LOW_BYTES:
        return warning(f"{told}; a checkpoint of SDXL takes 5 to 40", f"free the disk: {_FREE}")
    return ok(told)


def _inodes(scene: Scene) -> Finding:
    state = os.statvfs(scene.root)
    if not state.f_files:
        return ok("this file system makes inodes as it needs them")
    told = f"{state.f_favail:,} of {state.f_files:,} files (inodes) are free"
    if state.f_favail < _LEAST_FILES:
        return failed(told, f"remove files, small ones in great number first: {_FREE}")
    if state.f_favail < _LOW_FILES:
        return warning(told, f"remove files, small ones in great number first: {_FREE}")
    return ok(told)


def _links(scene: Scene) -> Finding:
    """By a trial with a file of our own in the cache, in the order that DVC's configuration has."""
    cache, kinds = _cache(scene)
    cache.mkdir(parents=True, exist_ok=True)
    scene.work.mkdir(parents=True, exist_ok=True)
    tried = ", ".join(kinds)
    with (
        tempfile.NamedTemporaryFile(dir=cache, prefix=".doctor-") as file,
        tempfile.TemporaryDirectory(dir=scene.work, prefix=".doctor-") as folder,
    ):
        file.write(b"\0" * 4096)
        file.flush()
        kind = next((k for k in kinds if _linked(k, Path(file.name), Path(folder) / k)), None)
    if kind is None:
        return failed(
            f"DVC can use none of its link types here ({tried})",
            "`dvc config --local cache.type reflink,hardlink,copy`",
        )
    if kind == "copy":
        return _copied(scene, cache, kinds)
    return ok(f"{kind} between workspace and {cache}")


def _copied(scene: Scene, cache: Path, kinds: list[str]) -> Finding:
    told = f"DVC copies, and every output lies on the disk twice: {cache}"
    if cache.stat().st_dev != scene.work.stat().st_dev:
        return warning(
            f"{told} is on another file system",
            "keep it on the clone's own, `dvc cache dir --local --unset`, or put the clone beside "
            "its cache",
        )
    if "hardlink" not in kinds:
        return warning(
            f"{told} (cache.type: {', '.join(kinds)})",
            "`dvc config --local cache.type reflink,hardlink,copy`",
        )
    return warning(f"{told}; this file system has no links", "put clone and cache on another disk")


def _cache(scene: Scene) -> tuple[Path, list[str]]:
    """Folder and link types, as DVC resolves them."""
    folder = scene.run([sys.executable, "-m", "dvc", "cache", "dir"])
    kinds = scene.run([sys.executable, "-m", "dvc", "config", "cache.type"])
    default = scene.root / ".dvc" / "cache"
    named = folder.stdout.strip() if folder.returncode == 0 else ""
    types = kinds.stdout.strip() if kinds.returncode == 0 else ""
    path = scene.root / named if named else default
    return path, [kind.strip() for kind in (types or "reflink,copy").split(",")]


def _linked(kind: str, source: Path, target: Path) -> bool:
    try:
        if kind == "hardlink":
            os.link(source, target)
        elif kind == "symlink":
            target.symlink_to(source)
        elif kind == "reflink":
            _clone(source, target)
        else:
            shutil.copyfile(source, target)
    except OSError:
        return False
    return True


def _clone(source: Path, target: Path) -> None:
    """A second file that shares the first one's blocks (FICLONE of linux/fs.h)."""
    import fcntl

    with source.open("rb") as read, target.open("wb") as write:
        try:
            fcntl.ioctl(write.fileno(), 0x40049409, read.fileno())
        except OSError:
            target.unlink()
            raise


DISK = (
    Check("space", "disk", _space),
    Check("inodes", "disk", _inodes),
    Check("cache-links", "disk", _links),
)
