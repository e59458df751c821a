"""`nadir data`: decisions about the dataset."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

app = typer.Typer(no_args_is_help=True, help="Decide about the dataset.")


@app.callback()
def group() -> None:
    """Decide about the dataset."""


@app.command()
def accept() -> None:
    """Accept the present dataset: from now on drift is measured against it.

    Writes reference/dataset.json, which git tracks; commit it. Promotion does the same with the
    dataset of the promoted model.
    """
    from nadir.data.gate.accepted_profile import REFERENCE, accept
    from nadir.ground import artifacts
    from nadir.ground.workspace import project_root

    root = project_root()
    changed = accept(root / artifacts.PROFILE, root)
    done = "now describes the present dataset; commit it" if changed else "describes it already"
    sys.stdout.write(f"{REFERENCE}: {done}\n")


@app.command()
def remove(
    images: Annotated[
        list[str], typer.Argument(help="Their sha256, or their files.", metavar="SHA256|FILE...")
    ],
) -> None:
    """Take images out: from now on `validate` leaves them out with the reason `removed`.

    Writes removed_images.txt, which git tracks; commit it. The next run trains without them and
    encodes no other image again. Models that were trained with them stay: `nadir lineage --image`
    names these. To take an image back, delete its line.
    """
    from nadir.data.gate.removed import REMOVED, remove
    from nadir.ground.workspace import project_root
    from nadir.pipeline.lineage.images import image_hash

    root = project_root()
    hashes = list(dict.fromkeys(image_hash(image) for image in images))
    new = remove(hashes, root)
    used = _in_manifest(new, root)
    for sha256 in hashes:
        what = "is listed already"
        if sha256 in new:
            what = f"removed ({used[sha256]})" if sha256 in used else "removed"
        sys.stdout.write(f"{sha256}: {what}\n")
    if new and len(used) < len(new):
        sys.stdout.write(f"{len(new) - len(used)} of them the present dataset does not use\n")
    if new:
        sys.stdout.write(f"{REMOVED}: commit it; `nadir run` trains without them\n")


def _in_manifest(hashes: list[str], root: Path) -> dict[str, str]:
    """The path of each of these images that the present dataset uses, by sha256."""
    import pyarrow.parquet as pq

    from nadir.ground import artifacts

    path = root / artifacts.MANIFEST
    if not path.is_file() or not hashes:
        return {}
    rows = pq.read_table(path, columns=["sha256", "path"], filters=[("sha256", "in", hashes)])
    return dict(zip(rows["sha256"].to_pylist(), rows["path"].to_pylist(), strict=True))
