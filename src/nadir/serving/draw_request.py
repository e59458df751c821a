"""What may be asked of a served model, and one sentence about what may not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from nadir.diffusion.names import SAMPLER_NAMES
from nadir.serving.limits import Limits

if TYPE_CHECKING:
    from nadir.serving.sizes import Size, Sizes

_BEYOND = 1 << 31  # larger numbers of pixels are not even quoted


class DrawRequest(BaseModel):
    """One picture to draw; MLflow derives the model's signature from it.

    Attributes:
        prompt: Tags between commas.
        negative_prompt: Tags that guidance leads away from.
        seed: Noise seed.
        cfg_scale: Guidance scale; 1 is no guidance.
        steps: Sampling steps.
        sampler: A sampler's name.
        width: Pixels; None is the model's own size. The nearest size of the training is drawn.
        height: Pixels; None is the model's own size.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompt: str
    negative_prompt: str = ""
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    cfg_scale: float = Field(default=4.5, ge=1, le=30)
    steps: int = Field(default=28, ge=2)
    sampler: str = "euler"  # MLflow derives no signature from a choice of names
    width: int | None = Field(default=None, gt=-_BEYOND, lt=_BEYOND)
    height: int | None = Field(default=None, gt=-_BEYOND, lt=_BEYOND)

    @field_validator("seed", "cfg_scale", "steps", "width", "height", mode="before")
    @classmethod
    def _is_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """A truth value or a text where a number belongs is a mistake of the sender."""
        if isinstance(value, bool | str | bytes):
            raise PydanticKnownError("float_type" if info.field_name == "cfg_scale" else "int_type")
        return value

    @field_validator("steps")
    @classmethod
    def _is_within_steps(cls, value: int, info: ValidationInfo) -> int:
        most = _limits(info).most_steps
        if value > most:
            raise PydanticKnownError("less_than_equal", {"le": most})
        return value

    @field_validator("sampler")
    @classmethod
    def _is_a_sampler(cls, value: str) -> str:
        if value not in SAMPLER_NAMES:
            raise PydanticKnownError("literal_error", {"expected": ", ".join(SAMPLER_NAMES)})
        return value

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _is_within_characters(cls, value: str, info: ValidationInfo) -> str:
        most = _limits(info).most_characters
        if len(value) > most:
            raise PydanticKnownError("string_too_long", {"max_length": most})
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PydanticKnownError("string_unicode") from None
        return value


class RequestError(MlflowException):  # type: ignore[misc]  # MLflow ships no types
    """A request that is not drawn; MLflow's server answers with the sentence and nothing else.

    Args:
        sentence: What is wrong, in one.
        error_code: MLflow's number for the status; 400 unless given.
        field: The key of a request that it is about, if it is about one.
    """

    def __init__(
        self, sentence: str, error_code: int = INVALID_PARAMETER_VALUE, field: str | None = None
    ) -> None:
        super().__init__(sentence, error_code=error_code)
        self._sentence = sentence
        self.field = field

    def serialize_as_json(self) -> str:
        """The body of the answer: the server puts all that was sent into `message`."""
        return json.dumps({"error_code": self.error_code, "message": self._sentence})


def read_requests(given: Any, limits: Limits | None = None) -> list[DrawRequest]:
    """What was asked for, however MLflow hands it over.

    Args:
        given: A list of requests or of objects with their keys, or a table with a row for each.
        limits: Of the server; the usual ones unless given.

    Raises:
        RequestError: It is no such thing, too much of it, or a value is out of bounds.
    """
    limits = limits or Limits()
    rows = _rows(given) if isinstance(given, pd.DataFrame) else given
    if not isinstance(rows, list):
        raise RequestError(f"the requests must be a list, not {type(rows).__name__}")
    most = limits.most_pictures
    if not 0 < len(rows) <= most:
        raise RequestError(f"1 to {most} requests may come at once, not {len(rows):,}")
    return [_numbered(row, number, limits) for number, row in enumerate(rows, start=1)]


def read_request(given: dict[str, Any], limits: Limits) -> DrawRequest:
    """One request.

    Raises:
        RequestError: A value is out of bounds; it names the field.
    """
    try:
        return DrawRequest.model_validate(given, context=limits)
    except ValidationError as error:
        raise _fault(error) from None


def size_of(request: DrawRequest, sizes: Sizes) -> Size:
    """Width and height of the picture: of the training's, that which is nearest to what was asked.

    Raises:
        RequestError: It has more pixels, or longer sides, than may be asked for.
    """
    if request.width is None and request.height is None:
        return sizes.usual
    asked = {"width": request.width, "height": request.height}
    width, height = (sizes.side if value is None else value for value in asked.values())
    for name, value in asked.items():
        if value is not None and not 1 <= value <= sizes.longest:
            raise RequestError(
                f"{name} must be 1 to {sizes.longest} pixels, not {value}", field=name
            )
    if width * height > sizes.most_pixels:
        raise RequestError(
            f"a picture may have {sizes.most_pixels:,} pixels at most, and {width} x {height} has "
            "more",
            field="width",
        )
    return sizes.nearest(width, height)


def _rows(table: pd.DataFrame) -> list[Any]:
    names: list[Any] = list(table.columns)
    if names == [0]:
        return list(table.iloc[:, 0])
    if not table.columns.is_unique:
        raise RequestError("the table has two columns of one name")
    # Missing cells are keys that were not given; what is infinite was.
    rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def _numbered(row: Any, number: int, limits: Limits) -> DrawRequest:
    if isinstance(row, DrawRequest):
        row = row.model_dump()
    if not isinstance(row, dict):
        raise RequestError(f"request {number} must be an object, not {type(row).__name__}")
    try:
        return read_request(row, limits)
    except RequestError as error:
        raise RequestError(f"request {number}: {error.message}") from None


def _limits(info: ValidationInfo) -> Limits:
    return info.context if isinstance(info.context, Limits) else Limits()


def _fault(error: ValidationError) -> RequestError:
    """The first fault."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])[:80]
    if first["type"] == "extra_forbidden":
        known = ", ".join(DrawRequest.model_fields)
        return RequestError(f"{name!r} is not a key of a request; there are {known}")
    message = first["msg"]
    return RequestError(f"{name}: {message[:1].lower()}{message[1:]}", field=name)
