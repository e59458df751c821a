"""Arrays and columns as files that are mapped into memory: `.npy`, and uncompressed Arrow.

What is mapped is shared by all processes of a machine, and the kernel may take it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ARRAY, TABLE = ".npy", ".arrow"
_ROWS_AT_ONCE = 1 << 18


def write_array(folder: Path, name: str, values: NDArray[Any]) -> None:
    """Write `name`.npy.

    Args:
        folder: Where to.
        name: Of the file, without ending.
        values: Any shape, no objects.
    """
    np.save(folder / f"{name}{ARRAY}", values, allow_pickle=False)


def map_array(folder: Path, name: str) -> NDArray[Any]:
    """Map `name`.npy; the array cannot be written to.

    Raises:
        ValueError: It is no such file.
        OSError: There is none.
    """
    path = folder / f"{name}{ARRAY}"
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    # A plain array over the same map: the subclass makes each index slower.
    return np.asarray(mapped)


def write_columns(folder: Path, name: str, columns: pa.Table) -> None:
    """Write `name`.arrow, uncompressed, so that reading it copies nothing."""
    path = str(folder / f"{name}{TABLE}")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, columns.schema) as writer:
        writer.write_table(columns, max_chunksize=_ROWS_AT_ONCE)


def map_columns(folder: Path, name: str) -> pa.Table:
    """Map `name`.arrow.

    Raises:
        ValueError: It is no such file (`pyarrow.ArrowInvalid`).
        OSError: There is none.
    """
    with pa.memory_map(str(folder / f"{name}{TABLE}"), "r") as file:
        return pa.ipc.open_file(file).read_all()


class Texts(Sequence[str]):
    """A column of text of which only what is asked for becomes Python's.

    Args:
        column: Of strings, without nulls.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        found = self.column[place]
        return found.to_pylist() if isinstance(place, slice) else str(found.as_py())
