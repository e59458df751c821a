"""What a dataset file says, whichever program it was written for."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Dataset:
    """One folder of images.

    Attributes:
        place: A folder, or `s3://bucket/prefix`.
        times: How often an epoch shows its images.
        words: What they are asked for where they have no tags.
        direct: Only what lies directly in it counts.
        text: Ending of the images' texts; None takes all that are known, "" none.
        from_names: File names are the texts.
        table: A metadata file that lies elsewhere; "" for none.
    """

    place: str
    times: int = 1
    words: str = ""
    direct: bool = False
    text: str | None = None
    from_names: bool = False
    table: str = ""


@dataclass
class Datasets:
    """All folders of a file.

    Attributes:
        datasets: The folders.
        left: Settings that are not taken over, and the parameter that does the same or "".
        notes: What else the log should say.
    """

    datasets: list[Dataset] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def whole_number(value: object, otherwise: int) -> int:
    """A setting that is a whole number; another value counts as not set."""
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def text_of(value: object) -> str:
    """A setting that is text; another value counts as not set."""
    return value if isinstance(value, str) else ""
