"""Where a checkpoint comes from, as far as the page can know.

The stage knows what it read: the checkpoint and the data, by the hashes that `dvc.lock` has, too.
Commit, parameters, run and version are the registry's: it writes them into the copy that it puts
on the run, and what DVC keeps stays a function of the stage's inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from nadir.data.tables import LATENT_INDEX, MANIFEST, TAGS, read_table
from nadir.ground.files import file_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REGISTRATION = Markup("<!-- registration -->")
"""Where the copy on the run has the registry's facts."""


def data_lineage(
    training: Mapping[str, Any], *, manifest: Path, tags: Path, latents: Path
) -> dict[str, str]:
    """The data behind a checkpoint: counts, and the hashes of their files.

    Args:
        training: What the checkpoint says of its training.
        manifest: `data/manifest.parquet`.
        tags: `data/tags.parquet`.
        latents: Folder `data/latents`.

    Raises:
        NadirError: A table is missing or damaged.
    """
    index = latents / "index.parquet"
    found = {
        "Training": f"stage train, fingerprint {training['fingerprint']}"
        if training.get("fingerprint")
        else "",
        "Images": _told(manifest, len(read_table(manifest, MANIFEST, ["sha256"])), "images"),
        "Tags": _told(tags, len(read_table(tags, TAGS, ["tag"])), "tags"),
        "Latents": _told(index, len(read_table(index, LATENT_INDEX, ["key"])), "latents"),
    }
    return {name: text for name, text in found.items() if text}


def with_registration(page: str, facts: Mapping[str, str]) -> str:
    """A page with what is known of its checkpoint where it is registered.

    Args:
        page: Of the stage; one that an older version wrote comes back as it is.
        facts: By name; what is not known is left out.
    """
    rows = Markup("").join(
        Markup('<tr><th scope="row">{}</th><td class="mono">{}</td></tr>').format(name, text)
        for name, text in facts.items()
    )
    return page.replace(str(REGISTRATION), str(rows), 1)


def _told(file: Path, count: int, what: str) -> str:
    # MD5 as in dvc.lock, to be found there.
    return f"{count:,} {what}, md5 {file_hash(file, 'md5')} ({file.parent.name}/{file.name})"
