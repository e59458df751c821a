"""Opens what a training reads: one process of a machine makes it, all map the same files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nadir.compute.process_pool import Loss, map_in_processes
from nadir.data.latents import masks, places, store
from nadir.data.tables import TAGS, read_table
from nadir.data.tags import caption_facts, codes, rules, weights
from nadir.data.tags.weights import tag_names
from nadir.ground.errors import NadirError
from nadir.ground.events import say
from nadir.ground.files import canonical_hash, file_hash
from nadir.ground.locks import waiting_lock
from nadir.ground.workspace import work_folder
from nadir.training import samples
from nadir.training.losses import regularisation
from nadir.training.start import arrays, making, tables
from nadir.training.start.kept import FOLDER, LOCK, content_hashes, is_whole, used
from nadir.training.start.making import Order, Sources, join, make
from nadir.training.start.tables import TrainingData, map_data, map_uses

if TYPE_CHECKING:
    from nadir.config.train import TrainParams

MAPPED_FROM_BYTES = 8 << 20
"""Size of the tables from which on they are made into files: about 40,000 images.

Below, joining them takes less than starting the process that would.
"""

# A change of how things are made makes them anew.
_CODE = (
    *(arrays, making, tables, samples, regularisation),
    *(caption_facts, codes, rules, weights),
    *(masks, places, store),
)
_DIGITS = 32
_LONGEST_S = 24 * 3600.0


def open_data(sources: Sources, train: TrainParams) -> TrainingData:
    """What a training reads, equal in every process and however it is held.

    Args:
        sources: The stages' files.
        train: `params.yaml` train.

    Raises:
        NadirError: A table is missing or damaged; no training image has a latent; a tag or folder
            that the parameters name is nowhere.
    """
    files = [path for path in sources.files() if path.is_file()]
    if sum(path.stat().st_size for path in files) < MAPPED_FROM_BYTES:
        return join(sources, train)
    try:
        return _mapped(sources, train, work_folder(FOLDER))
    except OSError as error:
        say(
            f"WARNING train: {error}; so each process joins tags and latents in memory of its own, "
            f"which takes longer. Make work/{FOLDER} a folder that can be written to"
        )
        return join(sources, train)


def _mapped(sources: Sources, train: TrainParams, root: Path) -> TrainingData:
    """Map the files, after making those that are missing or damaged."""
    with waiting_lock(root / LOCK):
        order = _order(sources, train, root)
        _make_apart(order)
        try:
            data = _map(order)
        except (ValueError, KeyError) as error:
            say(f"train: {order.data} is damaged ({error}) and is made again")
            shutil.rmtree(order.tags)
            shutil.rmtree(order.data)
            _make_apart(order)
            data = _map(order)
        used(root, order.tags, order.data)
    return data


def _order(sources: Sources, train: TrainParams, root: Path) -> Order:
    """The folders' names are hashes of all that shapes what is in them."""
    hashes = content_hashes(root, sources.files())
    code = [file_hash(Path(module.__file__ or "")) for module in _CODE]
    of_tags = {"code": code, "files": [hashes[path.name] for path in sources.files()[:2]]}
    asked = {"caption", "repeats", "regularisation", "tag_weighting"}
    of_data: dict[str, Any] = {
        "code": code,
        "files": hashes,
        "masks": train.masked_loss is not None,
        "params": train.model_dump(mode="json", include=asked),
    }
    return Order(
        sources=sources,
        train=train,
        tags=root / f"tags-{canonical_hash(of_tags)[:_DIGITS]}",
        data=root / f"data-{canonical_hash(of_data)[:_DIGITS]}",
    )


def _make_apart(order: Order) -> None:
    """In a process of its own, whose memory ends with it."""
    if is_whole(order.tags) and is_whole(order.data):
        return
    say("train: joins tags and latents once for all processes; later trainings start with that")
    for _ in map_in_processes(make, [[order]], workers=1, limit_s=_LONGEST_S, lost=_lost):
        pass


def _lost(order: Order, loss: Loss) -> NoReturn:
    raise NadirError(
        f"the process that joins tags and latents {loss.replace('_', ' ')}",
        where=str(order.data.parent),
        fix="look for `Out of memory` in the system's log: it takes about 1 kB an image; then run "
        "the same command again",
    )


def _map(order: Order) -> TrainingData:
    names = tag_names(read_table(order.sources.tags, TAGS, ["tag", "class"]))
    return map_data(order.data, map_uses(order.tags), names)
