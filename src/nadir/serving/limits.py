"""How much may be asked of a served model at once: of the environment, or the version's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "NADIR_SERVE_"
"""Of the variables: `NADIR_SERVE_MOST_STEPS` is `most_steps`."""


class Limits(BaseModel):
    """What a server draws at the most.

    Attributes:
        most_pictures: Requests in one call.
        most_pixels: Width times height of a picture; None is four times the square that the model
            is made for.
        most_steps: Sampling steps.
        most_characters: Of a prompt, and of a negative prompt.
        most_bytes: Of the body of a call.
        most_waiting: Calls that wait for their turn; one more is told to come back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    most_pictures: int = Field(default=16, ge=1)
    most_pixels: int | None = Field(default=None, ge=1)
    most_steps: int = Field(default=150, ge=2, le=1000)
    most_characters: int = Field(default=10_000, ge=1)
    most_bytes: int = Field(default=1 << 20, ge=1)
    most_waiting: int = Field(default=16, ge=0)


def read_limits(configuration: Mapping[str, Any] | None, environment: Mapping[str, str]) -> Limits:
    """The limits of a server.

    Args:
        configuration: The version's own (`model_config` of MLflow), of which keys that begin with
            `most_` count.
        environment: Its variables, which count more.

    Raises:
        NadirError: A limit is not a number in its range, or there is none of that name.
    """
    named = {key: value for key, value in (configuration or {}).items() if key.startswith("most_")}
    of = dict.fromkeys(named, "the version's model_config")
    for variable, text in environment.items():
        key = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX + "MOST_") and text:
            named[key], of[key] = text, variable
    try:
        return Limits.model_validate(named)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        known = ", ".join(PREFIX + name.upper() for name in Limits.model_fields)
        raise NadirError(
            f"{key}: {first['msg'][:1].lower()}{first['msg'][1:]}",
            where=of[key],
            fix=f"set it to a whole number in its range; the limits are {known}",
        ) from None
