"""What may be asked of a served model, and one sentence about what may not."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

MOST_PICTURES = 16
"""Requests in one call."""
MOST_TIMES_NATIVE = 4
"""Pixels of a picture, and its longer side, as multiples of those that the model is made for."""

_BEYOND = 1 << 31  # larger numbers of pixels are not even quoted


class DrawRequest(BaseModel):
    """One picture to draw; MLflow derives the model's signature from it.

    Attributes:
        prompt: Tags between commas.
        seed: Noise seed.
        cfg_scale: Guidance scale; 1 is no guidance.
        steps: Sampling steps.
        width: Pixels; None is the model's own size.
        height: Pixels; None is the model's own size.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompt: str = Field(max_length=10_000)
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    cfg_scale: float = Field(default=4.5, ge=1, le=30)
    steps: int = Field(default=28, ge=2, le=150)
    width: int | None = Field(default=None, gt=-_BEYOND, lt=_BEYOND)
    height: int | None = Field(default=None, gt=-_BEYOND, lt=_BEYOND)

    @field_validator("seed", "cfg_scale", "steps", "width", "height", mode="before")
    @classmethod
    def _is_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """A truth value or a text where a number belongs is a mistake of the sender."""
        if isinstance(value, bool | str | bytes):
            raise PydanticKnownError("float_type" if info.field_name == "cfg_scale" else "int_type")
        return value


class RequestError(MlflowException):  # type: ignore[misc]  # MLflow ships no types
    """A request that is not drawn; MLflow's server answers with the sentence and nothing else.

    Args:
        sentence: What is wrong, in one.
        error_code: MLflow's number for the status; 400 unless given.
    """

    def __init__(self, sentence: str, error_code: int = INVALID_PARAMETER_VALUE) -> None:
        super().__init__(sentence, error_code=error_code)
        self._sentence = sentence

    def serialize_as_json(self) -> str:
        """The body of the answer: the server puts all that was sent into `message`."""
        return json.dumps({"error_code": self.error_code, "message": self._sentence})


def read_requests(given: Any) -> list[DrawRequest]:
    """What was asked for, however MLflow hands it over.

    Args:
        given: A list of requests or of objects with their keys, or a table with a row for each.

    Raises:
        RequestError: It is no such thing, too much of it, or a value is out of bounds.
    """
    rows = _rows(given) if isinstance(given, pd.DataFrame) else given
    if not isinstance(rows, list):
        raise RequestError(f"the requests must be a list, not {type(rows).__name__}")
    if not 0 < len(rows) <= MOST_PICTURES:
        raise RequestError(f"1 to {MOST_PICTURES} requests may come at once, not {len(rows):,}")
    return [_request(row, number) for number, row in enumerate(rows, start=1)]


def check_size(request: DrawRequest, side: int, multiple: int) -> tuple[int, int]:
    """Width and height of the picture.

    Args:
        request: What was asked for.
        side: Of the square that the model is made for, pixels.
        multiple: What both sides must be multiples of, pixels.

    Raises:
        RequestError: The model cannot draw it, or it would take too much memory.
    """
    width = side if request.width is None else request.width
    height = side if request.height is None else request.height
    longest, most = MOST_TIMES_NATIVE * side, MOST_TIMES_NATIVE * side**2
    for name, value in (("width", width), ("height", height)):
        if not multiple <= value <= longest or value % multiple:
            raise RequestError(
                f"{name} must be a multiple of {multiple} from {multiple} to {longest}, not {value}"
            )
    if width * height > most:
        raise RequestError(
            f"a picture may have {most:,} pixels at most, and {width} x {height} has more"
        )
    return width, height


def _rows(table: pd.DataFrame) -> list[Any]:
    names: list[Any] = list(table.columns)
    if names == [0]:
        return list(table.iloc[:, 0])
    if not table.columns.is_unique:
        raise RequestError("the table has two columns of one name")
    # Missing cells are keys that were not given; what is infinite was.
    rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def _request(row: Any, number: int) -> DrawRequest:
    if isinstance(row, DrawRequest):
        row = row.model_dump()
    if not isinstance(row, dict):
        raise RequestError(f"request {number} must be an object, not {type(row).__name__}")
    try:
        request = DrawRequest.model_validate(row)
        request.prompt.encode()
    except ValidationError as error:
        raise RequestError(f"request {number}: {_sentence(error)}") from None
    except UnicodeEncodeError:
        raise RequestError(f"request {number}: prompt: it is not valid Unicode") from None
    return request


def _sentence(error: ValidationError) -> str:
    """The first fault."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])[:80]
    if first["type"] == "extra_forbidden":
        known = ", ".join(DrawRequest.model_fields)
        return f"{name!r} is not a key of a request; there are {known}"
    message = first["msg"]
    return f"{name}: {message[:1].lower()}{message[1:]}"
