"""`ingest`: where the images are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from nadir.config.base import Section

Layout = Literal[
    "auto", "folder", "kohya", "imagefolder", "booru", "webdataset", "parquet", "mixed"
]


def _written_off(value: Any) -> Any:
    """YAML reads a bare `off` as false."""
    return "off" if value is False else value


class IngestParams(Section):
    """The source. No other stage depends on it: moving a dataset recomputes nothing."""

    source: Annotated[str, Field(min_length=1)]
    """Folder of images (relative to the project), `.tar` or `.parquet` file, or `s3://bucket/prefix`;
    also kohya's dataset TOML and SimpleTuner's backend JSON."""
    format: Layout
    """Layout of the source, see docs/data.md; `auto` detects it."""
    tag_table: Annotated[str, Field(min_length=1)] | None
    """CSV or parquet with the columns `tag` and `class`, for tags whose source names no class."""
    tag_aliases: Annotated[str, Field(min_length=1)] | None
    """CSV or parquet with the columns `name` and `tag`: names that stand for another tag."""
    tag_implications: Annotated[str, Field(min_length=1)] | None
    """CSV or parquet with the columns `name` and `tag`: tags that bring another with them."""
    folder_repeats: Annotated[Literal["auto", "off"], BeforeValidator(_written_off)]
    """`auto` reads kohya's folders `10_name`: times an epoch, and words where there are no tags."""
    mask_folder: Annotated[str, Field(min_length=1)] | None
    """Folder below the source with masks that are named like the images; no image of it is a
    sample, and `encode.masks` says whether they are used."""
    endpoint_url: Annotated[str, Field(pattern="^https?://")] | None
    """Address of an S3 server; null takes `AWS_ENDPOINT_URL` or Amazon's own."""
