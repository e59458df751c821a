"""Why an image is left out: a closed list of reasons, each with what to do about it."""

from __future__ import annotations

from enum import StrEnum

from nadir.ground.errors import NadirError


class Reason(StrEnum):
    """Reason codes of `data/quarantine.parquet`, in the order in which they are looked for."""

    BAD_METADATA = "bad_metadata"
    UNSAFE_PATH = "unsafe_path"
    MISSING_IMAGE = "missing_image"
    BAD_ARCHIVE = "bad_archive"
    VANISHED = "vanished"
    BAD_NAME = "bad_name"
    CANNOT_OPEN = "cannot_open"
    EMPTY_FILE = "empty_file"
    TOO_LARGE = "too_large"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    REMOVED = "removed"
    TOO_SMALL = "too_small"
    EXTREME_ASPECT = "extreme_aspect"
    BAD_TAGS_FILE = "bad_tags_file"
    NO_TAGS = "no_tags"
    TOO_MANY_TAGS = "too_many_tags"
    RATING_EXCLUDED = "rating_excluded"
    DUPLICATE = "duplicate"


FIXES: dict[Reason, str] = {
    Reason.BAD_METADATA: "correct or delete the row or the metadata file, or copy the file again",
    Reason.UNSAFE_PATH: "give the image a plain path inside the source: relative, without `..`; in "
    "place of a link, put what it leads to",
    Reason.MISSING_IMAGE: "add the image, or delete the row of the metadata file or the link",
    Reason.BAD_ARCHIVE: "copy the archive or the table again, or pack it anew as a plain .tar or "
    "as .parquet",
    Reason.VANISHED: "run again; ingest lists the source anew",
    Reason.BAD_NAME: "rename the file so that its name is valid UTF-8",
    Reason.CANNOT_OPEN: "check the permissions of the file, and the disk",
    Reason.EMPTY_FILE: "download or copy the file again",
    Reason.TOO_LARGE: "shrink the image, or raise validate.max_pixels or validate.max_file_bytes",
    Reason.CRASHED: "save the image again with another program, or set compute.workers lower",
    Reason.TIMED_OUT: "save the image again with another program, or raise validate.max_seconds",
    Reason.TRUNCATED: "download or copy the file again",
    Reason.UNREADABLE: "convert it to PNG, JPEG or WebP, or delete it",
    Reason.REMOVED: "nothing to do, or delete its line in removed_images.txt",
    Reason.TOO_SMALL: "find a larger version, or lower validate.min_side_px",
    Reason.EXTREME_ASPECT: "crop the image, or raise validate.max_aspect_ratio",
    Reason.BAD_TAGS_FILE: "correct the tags: UTF-8 text, or JSON with a list of tags",
    Reason.NO_TAGS: "write tags into a .txt file beside the image or into its row of the metadata, "
    "or lower validate.min_tags",
    Reason.TOO_MANY_TAGS: "shorten the tag file, or raise validate.max_tags",
    Reason.RATING_EXCLUDED: "nothing to do, or take the rating out of validate.exclude_ratings",
    Reason.DUPLICATE: "nothing to do; the other copy is used",
}
"""What a user can do about each reason."""

PASSING: frozenset[Reason] = frozenset(
    {Reason.VANISHED, Reason.CANNOT_OPEN, Reason.TOO_LARGE, Reason.CRASHED, Reason.TIMED_OUT}
)
"""Reasons that may be gone next time without a change of the file, so they are not remembered."""

UNDECODABLE: frozenset[Reason] = frozenset(
    {
        Reason.BAD_METADATA,
        Reason.UNSAFE_PATH,
        Reason.MISSING_IMAGE,
        Reason.BAD_ARCHIVE,
        Reason.VANISHED,
        Reason.BAD_NAME,
        Reason.CANNOT_OPEN,
        Reason.EMPTY_FILE,
        Reason.TOO_LARGE,
        Reason.CRASHED,
        Reason.TIMED_OUT,
        Reason.TRUNCATED,
        Reason.UNREADABLE,
    }
)
"""Reasons that leave no pixels to look at."""


class ImageError(NadirError):
    """An image that cannot be used.

    Args:
        reason: The reason code.
        detail: What was found.
        where: The file.
        size: (width, height) in pixels when the header gave it.
    """

    def __init__(
        self, reason: Reason, detail: str, *, where: str = "", size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}", where=where, fix=FIXES[reason])
        self.reason = reason
        self.detail = detail
        self.size = size
