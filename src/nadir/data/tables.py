"""The tables that stages hand to each other: their columns, and how they are read and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.compute.cores import one_ahead
from nadir.data.row_groups import ROWS_PER_GROUP, open_writer, row_group
from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


def _schema(*fields: tuple[str, pa.DataType], optional: Sequence[str] = ()) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in optional) for name, kind in fields])


TAG_LIST: pa.DataType = pa.list_(pa.struct([("name", pa.string()), ("class", pa.string())]))
"""Tags of one image, each with its class."""

TAG_SOURCES: pa.DataType = pa.list_(
    pa.struct([("path", pa.string()), ("size", pa.int64()), ("version", pa.string())])
)
"""Files or rows that say something about one image."""

CAPTION_LIST: pa.DataType = pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string())]))
"""Sentences about one image beside its tags, each with the key or ending it was found under."""

LISTING: pa.Schema = _schema(
    ("path", pa.string()),
    ("size", pa.int64()),
    ("version", pa.string()),
    ("tags_path", pa.string()),
    ("tags_size", pa.int64()),
    ("tags_version", pa.string()),
    ("more_tags", TAG_SOURCES),
    ("problem", pa.string()),
    ("detail", pa.string()),
    ("repeats", pa.int32()),
    optional=(
        "tags_path",
        "tags_size",
        "tags_version",
        "more_tags",
        "problem",
        "detail",
        "repeats",
    ),
)
"""What the source names, sorted by path (`nadir.data.paths` says how paths read).

Sizes are bytes; -1 where only reading gives them. A version changes whenever the content may have:
time of the last change (ns), ETag, or a hash. `problem` is a `Reason` where there is nothing to
look at. `more_tags` are what says something about the image besides `tags_path`, in the order in
which it counts; null where there is nothing. `repeats` is how often an epoch shows the image, where
its folder says so.
"""

MASKS: pa.Schema = _schema(("path", pa.string()), ("mask", pa.string()), ("version", pa.string()))
"""Images of the listing that have a mask file, and the mask's version, sorted by path."""

TAG_CLASSES: pa.Schema = _schema(("tag", pa.string()), ("class", pa.string()))
"""The supplied tag table, sorted by tag; empty without one."""

TAG_RULES: pa.Schema = _schema(("kind", pa.string()), ("name", pa.string()), ("tag", pa.string()))
"""The supplied aliases (kind `alias`) and implications (`implication`), sorted."""

MANIFEST: pa.Schema = _schema(
    ("sha256", pa.string()),
    ("path", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("format", pa.string()),
    ("split", pa.string()),
    ("tags", TAG_LIST),
    ("mean_luminance", pa.float32()),
    ("perceptual_hash", pa.string()),
    ("record_id", pa.string()),
    ("rating", pa.string()),
    ("captions", CAPTION_LIST),
    ("repeats", pa.int32()),
    ("score", pa.int64()),
    ("year", pa.int32()),
    ("kept_tags", pa.int32()),
    optional=("rating", "captions", "repeats", "score", "year", "kept_tags"),
)
"""Usable images, sorted by sha256; pixels after EXIF orientation, luminance 0 to 1.

`rating` is the source's own (`general`, `explicit` ...), null where it gives none; `captions` are
sentences beside the tags, null where there are none; `repeats` is how often an epoch shows the
image, null where its folder does not say it. `score` is the sum of votes, `year` that of the post,
`kept_tags` how many tags stand before `|||` in a tag file; null where the source does not say it.
"""

QUARANTINE: pa.Schema = _schema(
    ("path", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("fix", pa.string())
)
"""Images that are left out, each with one reason code."""

TAGS: pa.Schema = _schema(
    ("tag", pa.string()),
    ("class", pa.string()),
    ("count", pa.int64()),
    ("document_frequency", pa.float64()),
    ("rarity", pa.string()),
    ("weight", pa.float64()),
    ("weighted", pa.bool_()),
    ("from_names", pa.list_(pa.string())),
)
"""Tags of the training images, sorted by count (falling), then tag.

`weighted` is false where the tag takes no part in loss weighting; its weight is then 1.
`from_names` are the other names that give an image this tag: aliases of it, and what implies it.
"""

TAG_PAIRS: pa.Schema = _schema(
    ("tag", pa.string()),
    ("other", pa.string()),
    ("count", pa.int64()),
    ("lift", pa.float64()),
)
"""How many training images carry both of two top tags, for each pair that occurs, by rank.

`lift` is that count over the one expected if the two were independent of each other.
"""

BUCKETS: pa.Schema = _schema(
    ("sha256", pa.string()),
    ("bucket_width", pa.int32()),
    ("bucket_height", pa.int32()),
    ("resize_width", pa.int32()),
    ("resize_height", pa.int32()),
    ("crop_left", pa.int32()),
    ("crop_top", pa.int32()),
    ("retained_area", pa.float64()),
)
"""Canvases of every image that has one, sorted by sha256, then by resolution; pixels."""

LATENT_INDEX: pa.Schema = _schema(
    ("key", pa.string()),
    ("sha256", pa.string()),
    ("shard", pa.string()),
    ("row", pa.int32()),
    ("bucket", pa.string()),
    ("bucket_width", pa.int32()),
    ("bucket_height", pa.int32()),
    ("original_width", pa.int32()),
    ("original_height", pa.int32()),
    ("crop_left", pa.int32()),
    ("crop_top", pa.int32()),
    ("flip_key", pa.string()),
    ("flip_shard", pa.string()),
    ("flip_row", pa.int32()),
    ("flip_crop_left", pa.int32()),
    optional=("flip_key", "flip_shard", "flip_row", "flip_crop_left"),
)
"""Where each live latent lies, sorted by sha256, then by width and height of its bucket; pixels.

The `flip_` columns are those of the mirrored image's latent, null where there is none.
"""


MASK_INDEX: pa.Schema = _schema(
    ("key", pa.string()), ("mask_key", pa.string()), ("shard", pa.string()), ("row", pa.int32())
)
"""Where the mask of a live latent lies, by the latent's key, in the order of the latents' index."""


def write_table(table: pa.Table, path: Path, schema: pa.Schema) -> None:
    """Write a parquet file atomically; equal tables give equal bytes.

    Columns are put in the schema's order and cast to its types; metadata (pandas' index and the
    like) is dropped. Optional columns that are missing hold nulls.

    Raises:
        ValueError: A column is missing or unknown, or a required one holds nulls.
        pyarrow.ArrowInvalid: A value does not fit its column's type.
    """
    for field in schema:
        if field.nullable and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    _check_names(table.column_names, schema, str(path))
    _check_nulls(table, schema, str(path))
    starts = range(0, max(table.num_rows, 1), ROWS_PER_GROUP)
    write_groups((table.slice(start, ROWS_PER_GROUP) for start in starts), path, schema)


def write_groups(groups: Iterable[pa.Table], path: Path, schema: pa.Schema) -> None:
    """Write a parquet file atomically, a row group at a time, as `write_table` writes it.

    Args:
        groups: All columns of `schema`, cast to its types here; `ROWS_PER_GROUP` rows each, the
            last one fewer.
        path: The file.
        schema: Columns in their order.

    Raises:
        ValueError: A required column holds nulls.
        pyarrow.ArrowInvalid: A value does not fit its column's type.
    """
    with (
        atomic_path(path) as temporary,
        open_writer(temporary, schema) as writer,
    ):
        # Groups are large: one is made while another is written, and no more.
        for whole in one_ahead(_whole(group, schema, str(path)) for group in groups):
            writer.write_table(whole)


def read_table(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet file that `write_table` wrote with `schema`.

    Args:
        path: The file.
        schema: Columns and types it must have.
        columns: Only these columns, in this order; default all.

    Raises:
        NadirError: The file is missing, unreadable or of another schema.
    """
    check_table(path, schema)
    try:
        # Reading ahead would keep the packed bytes of all columns beside the unpacked ones.
        wanted = list(columns) if columns is not None else None
        return pq.read_table(path, columns=wanted, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def check_table(path: Path, schema: pa.Schema) -> None:
    """Look at a parquet file's columns without reading it.

    Raises:
        NadirError: The file is missing, unreadable or of another schema.
    """
    if not path.is_file():
        raise NadirError(
            "the table is missing", where=str(path), fix="run the stage that makes it: dvc repro"
        )
    try:
        found = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    if not found.equals(schema):
        raise NadirError(
            f"the table has other columns: {_difference(found, schema)}",
            where=str(path),
            fix="delete it and run the stage that makes it again: dvc repro",
        )


def unreadable(path: Path, error: Exception) -> NadirError:
    """What to raise for a table that cannot be read."""
    return NadirError(
        f"not a readable parquet file ({error})",
        where=str(path),
        fix="delete it and run the stage that makes it again: dvc repro",
    )


def _check_names(names: Sequence[str], schema: pa.Schema, where: str) -> None:
    missing = [name for name in schema.names if name not in names]
    unknown = [name for name in names if name not in schema.names]
    if missing or unknown:
        msg = f"{where}: missing columns {missing}, unknown columns {unknown}"
        raise ValueError(msg)


def _check_nulls(table: pa.Table, schema: pa.Schema, where: str) -> None:
    for field in schema:
        if (nulls := table.column(field.name).null_count) and not field.nullable:
            msg = f"{where}: column {field.name} holds {nulls} nulls"
            raise ValueError(msg)


def _whole(group: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    _check_nulls(group, schema, where)
    return row_group(group, schema)


def _difference(found: pa.Schema, wanted: pa.Schema) -> str:
    have = {field.name: str(field.type) for field in found}
    want = {field.name: str(field.type) for field in wanted}
    parts = [f"{name} is missing" for name in want if name not in have]
    parts += [f"{name} is unknown" for name in have if name not in want]
    parts += [
        f"{name} is {have[name]}, not {want[name]}"
        for name in want
        if name in have and have[name] != want[name]
    ]
    return "; ".join(parts) or "their order or nullability differs"
