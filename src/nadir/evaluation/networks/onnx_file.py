"""Networks in ONNX files, run on the CPU."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nadir.evaluation.networks.files import where_of
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Layout = Literal["NCHW", "NHWC"]
# A protobuf message's first field, a text of 8 bytes, and the mark of its second
# (StringStringEntryProto in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_LOCATION = b"\n\x08location\x12"
_AN_ONNX_FILE = "name the ONNX file that the documentation of this metric describes"


class OnnxFile:
    """A network with one input; of several outputs the first that is asked for is read.

    Args:
        place: The file, whose hash was checked.
        key: The network's name in `evaluate.networks`.

    Raises:
        NadirError: onnxruntime is not installed or cannot read the file, or it has several inputs.
    """

    def __init__(self, place: Path, *, key: str) -> None:
        self.key, self._place = key, place
        self._session = _open(place, key)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise self.fault(f"has {len(inputs)} inputs, not one")
        self._input = inputs[0]
        names = [one.name for one in self._session.get_outputs()]
        self._output = "output" if "output" in names else names[0]

    def picture_side(self, layout: Layout, *, usual: int) -> int:
        """Side in pixels of the square pictures that it takes; `usual` where it takes any.

        Raises:
            NadirError: It takes no such pictures.
        """
        shape = self._input.shape
        wanted = ("batch", 3, "side", "side") if layout == "NCHW" else ("batch", "side", "side", 3)
        places = (1, (2, 3)) if layout == "NCHW" else (3, (1, 2))
        fits = len(shape) == 4 and self._input.type == "tensor(float)"
        sides = {shape[place] for place in places[1]} if fits else set()
        whole = {side if isinstance(side, int) else usual for side in sides}
        if not fits or shape[places[0]] not in (3, None) or len(whole) != 1:
            raise self.fault(f"takes {self._input.type} {shape}, not floats {list(wanted)}")
        return whole.pop()

    def __call__(self, values: NDArray[np.float32], *, wide: int | None = None) -> NDArray[Any]:
        """Its output [N, F] for a batch.

        Args:
            values: The batch.
            wide: F, where the caller knows it.

        Raises:
            NadirError: It refuses the batch, or the output has another shape.
        """
        one_by_one = self._input.shape[0] == 1
        parts = [values[i : i + 1] for i in range(len(values))] if one_by_one else [values]
        outputs = [self._run(np.ascontiguousarray(part, dtype=np.float32)) for part in parts]
        found = np.concatenate(outputs)
        flat = found.reshape(len(found), -1) if found.ndim else found
        if found.ndim < 1 or len(found) != len(values) or wide not in (None, flat.shape[1]):
            asked = f"[{len(values)}, {'any number' if wide is None else wide}]"
            raise self.fault(f"gives {list(found.shape)}, not {asked}")
        return flat

    def fault(self, what: str) -> NadirError:
        """An error about this file."""
        return NadirError(f"{self._place} {what}", where=where_of(self.key), fix=_AN_ONNX_FILE)

    def _run(self, values: NDArray[np.float32]) -> NDArray[Any]:
        try:
            found = self._session.run([self._output], {self._input.name: values})[0]
        except Exception as error:  # its errors have no class of their own
            raise self.fault(f"cannot be run: {_first_line(error)}") from error
        return np.asarray(found)


def _open(place: Path, key: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise NadirError(
            "onnxruntime is not installed", where=where_of(key), fix="run `make install` again"
        ) from error
    if _has_weights_elsewhere(place):
        raise NadirError(
            f"{place} keeps weights in other files, which its sha256 says nothing of",
            where=where_of(key),
            fix="save it as one file: onnx.save(onnx.load(path), path)",
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    try:
        return onnxruntime.InferenceSession(
            str(place), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors have no class of their own
        raise NadirError(
            f"{place} is not an ONNX file that can be run: {_first_line(error)}",
            where=where_of(key),
            fix=_AN_ONNX_FILE,
        ) from error


def _has_weights_elsewhere(place: Path) -> bool:
    """Whether a tensor's entry `location` names a file of its own, by the entry's bytes."""
    if not place.stat().st_size:
        return False
    with place.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_LOCATION) >= 0


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
