"""`nadir latents`: look after the store of encoded images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.workspace import main_workspace, project_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.data.latents.checks import Fault

app = typer.Typer(no_args_is_help=True, help="Check and tidy the latents of encoded images.")

_STORE = Path("work/latents")
_SHOWN = 10


@app.callback()
def group() -> None:
    """Check and tidy the latents of encoded images."""


@app.command(
    help="""Read every latent again: checksums, shapes, finite values, and the index.

Exits 1 when something is damaged and says what. Damaged files are moved to work/latents/damaged and
out of DVC's cache; the next `nadir run` encodes what they held.

\b
Examples:
  nadir latents verify
  nadir latents verify --dry-run     only say, move nothing
"""
)
def verify(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Move nothing.")] = False,
) -> None:
    """Read every latent again; see the command's help."""
    from nadir.data.latents.checks import set_aside
    from nadir.data.latents.checks import verify as read_again
    from nadir.data.latents.store import LatentStore

    root = project_root()
    store = LatentStore(main_workspace(root) / _STORE)
    with store.in_use():
        found = read_again(store, root / artifacts.LATENTS)
    sys.stdout.write(
        f"{found.shards} shards, {found.latents} latents, {readable_size(found.size)} were read\n"
    )
    if not found.faults:
        sys.stdout.write("all of them are good\n")
        return
    if not dry_run:
        from nadir.pipeline.storage.cached_damage import drop_from_cache

        with store.alone():
            drop_from_cache(set_aside(store, found.faults), root)
    raise NadirError(
        _told(found.faults, root),
        where="latents",
        fix="`nadir latents verify` without --dry-run sets these files aside"
        if dry_run
        else f"they were moved to {_STORE}/damaged; `nadir run` encodes again what they held",
    )


@app.command(
    help="""Merge small shards and drop rows that data/latents does not use.

Nothing in data/ or DVC's cache changes: hard links there keep the old shards, whose space is free
when `encode` has run again and `nadir clean` has removed what it replaced. Safe to kill.

\b
Examples:
  nadir latents compact
  nadir latents compact --keep-unused   merge only; rows of earlier parameters stay
"""
)
def compact(
    keep_unused: Annotated[
        bool, typer.Option("--keep-unused", help="Keep rows that data/latents does not use.")
    ] = False,
) -> None:
    """Merge small shards and drop unused rows; see the command's help."""
    from nadir.config.encode import EncodeParams
    from nadir.config.reader import read_section
    from nadir.data.latents.compaction import compact as rewrite
    from nadir.data.latents.masks import live_keys
    from nadir.data.latents.store import LatentStore
    from nadir.ground.workspace import PARAMS_FILE

    root = project_root()
    params = read_section("encode", EncodeParams, root / PARAMS_FILE)
    live = None
    if not keep_unused:
        live = live_keys(root / artifacts.LATENTS)
    done = rewrite(LatentStore(main_workspace(root) / _STORE), live, params.shard_bytes)
    sys.stdout.write(
        f"{_STORE}: {done.shards_before} shards, {readable_size(done.bytes_before)} -> "
        f"{done.shards_after} shards, {readable_size(done.bytes_after)}; "
        f"{done.dead_rows} unused rows dropped\n"
    )
    if done.held_bytes:
        sys.stdout.write(
            f"{readable_size(done.held_bytes)} of the old shards are still linked from "
            f"{artifacts.LATENTS} or DVC's cache, until `encode` runs again and `nadir clean` "
            "removes them\n"
        )


def _told(faults: Sequence[Fault], root: Path) -> str:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    lines = [f"  {_short(fault.path, root)}: {fault.what}" for fault in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"  and {len(faults) - _SHOWN} more")
    return "\n".join([count, *lines])


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def readable_size(count: int) -> str:
    """Bytes as people read them, in powers of ten."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
