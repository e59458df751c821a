"""Pictures that are not samples: masks, maps and thumbnails that lie among the images.

| what | whose | becomes |
|---|---|---|
| `x-masklabel.png`, `x.mask.png` beside an image `x` | OneTrainer's, others' | its mask |
| `x-condlabel.png`, `x.seg.png` beside an image `x` | conditioning, segmentation | nothing |
| files below `ingest.mask_folder` | kohya's folder of masks named like the images | masks |
| files below `@eaDir` | thumbnails of a Synology disk | nothing |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.sources.columns import images_of, matching, names, rows_of, stems
from nadir.data.tables import MASKS
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections import Counter

    from nadir.data.sources.columns import Column

_MASK = r"(?is)[^/](?:-masklabel|\.mask)\.[^./]+$"
_OTHER = r"(?is)[^/](?:-condlabel|\.seg)\.[^./]+$"
_ENDING = r"(?is)(?:-masklabel|\.mask|-condlabel|\.seg)\.[^./]+$"
_THUMBNAILS = r"(?s)(?:^|/)@eaDir/"
_LAST_TWO = r"(?s)^.*/([^/]*/[^/]*)$"


def without_folders(
    files: pa.Table, mask_folder: str | None, ignored: Counter[str]
) -> tuple[pa.Table, pa.Table]:
    """The files of a store that may be samples, and those below the folder of masks.

    Args:
        files: Of schema `FILES`.
        mask_folder: `ingest.mask_folder`.
        ignored: Gets the number of files that are passed over.

    Raises:
        NadirError: There is no image below the folder of masks.
    """
    # A plain text is found in half the time of an expression that has it in it.
    if pc.any(pc.match_substring(files["path"], "@eaDir/")).as_py():
        thumbnails = matching(files, _THUMBNAILS)
        if count := pc.sum(thumbnails).as_py():
            ignored["in @eaDir"] += count
            files = files.filter(pc.invert(thumbnails))
    if mask_folder is None:
        return files, files.slice(0, 0)
    inside = pc.starts_with(files["path"], f"{mask_folder.strip('/')}/")
    masks = images_of(files.filter(inside))
    if not len(masks):
        raise NadirError(
            f"no image lies below `{mask_folder}` in the source",
            where="params.yaml ingest.mask_folder",
            fix="name the folder as the source has it, from its root: masks or extra/masks; a "
            "folder elsewhere has to be moved below ingest.source",
        )
    ignored["in the folder of masks"] += pc.sum(inside).as_py()
    return files.filter(pc.invert(inside)), masks


def set_masks_aside(
    table: pa.Table, folder_masks: pa.Table, mask_folder: str | None, ignored: Counter[str]
) -> tuple[pa.Table, pa.Table]:
    """A listing without masks and maps, and the mask of each image that has one.

    A mask beside its image comes before one of the folder.

    Args:
        table: Of schema `LISTING`.
        folder_masks: From `without_folders`.
        mask_folder: `ingest.mask_folder`.
        ignored: Gets the number of rows that are passed over.

    Returns:
        The listing, and a table of schema `MASKS`.
    """
    table, beside = _without_labels(table, ignored)
    if not len(beside) and mask_folder is None:
        return table, MASKS.empty_table()
    paths = table.filter(pc.is_null(table["problem"]))["path"]
    found = rows_of(stems(paths), _bare(beside["path"]))
    if mask_folder is not None:
        own = stems(pc.utf8_slice_codeunits(folder_masks["path"], len(mask_folder.strip("/")) + 1))
        in_folder = _named_alike(stems(paths), own)
        found = pc.coalesce(found, pc.add(in_folder, pa.scalar(len(beside), pa.int32())))
        unused = len(folder_masks) - pc.count_distinct(in_folder).as_py()
        ignored["of the masks there belong to no image"] += unused
    mask, version = (
        pa.chunked_array([*beside[name].chunks, *folder_masks[name].chunks], pa.string()).take(
            found
        )
        for name in ("path", "version")
    )
    pairs = pa.table({"path": paths, "mask": mask, "version": version})
    return table, pairs.filter(pc.is_valid(mask)).cast(MASKS)


def _without_labels(table: pa.Table, ignored: Counter[str]) -> tuple[pa.Table, pa.Table]:
    """The listing without what only describes an image beside it; (path, version) of the masks."""
    nothing = table.slice(0, 0).select(["path", "version"])
    labels = matching(table, _ENDING)
    if not pc.any(labels).as_py():
        return table, nothing
    is_mask, is_other = matching(table, _MASK), matching(table, _OTHER)
    labels = pc.or_(is_mask, is_other)
    images = stems(table.filter(pc.invert(labels))["path"])
    described = pc.is_in(_bare(table["path"]), value_set=images.combine_chunks())
    labels = pc.and_(labels, described)
    masks = table.filter(pc.and_(is_mask, labels))
    ignored["masks beside their image"] += len(masks)
    ignored["maps beside their image"] += pc.sum(labels).as_py() - len(masks)
    return table.filter(pc.invert(labels)), masks.select(["path", "version"])


def _bare(paths: Column) -> Column:
    """Paths of masks and maps as their images' without ending."""
    return pc.replace_substring_regex(paths, rf"(?is)([^/]){_ENDING.removeprefix('(?is)')}", r"\1")


def _last_two(paths: Column) -> Column:
    return pc.replace_substring_regex(paths, _LAST_TWO, r"\1")


def _named_alike(images: Column, masks: Column) -> Column:
    """Row of each image's mask: of its path below the folder, else of its last two parts or name.

    A part of a path counts only where one mask has it.
    """
    found = rows_of(images, masks)
    for part in (_last_two, names):
        ends = part(masks)
        counts = ends.value_counts()
        once = counts.field("values").filter(pc.equal(counts.field("counts"), 1))
        usable = pc.if_else(pc.is_in(ends, value_set=once), ends, None)
        found = pc.coalesce(found, rows_of(part(images), usable))
    return found
