"""What the page's form asks for, as it was typed, and one sentence beside the field at fault."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nadir.serving.draw_request import RequestError, read_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nadir.serving.draw_request import DrawRequest
    from nadir.serving.limits import Limits

_TEXTS = ("prompt", "negative_prompt", "sampler")
_LARGEST_SEED = (1 << 63) - 1
_WHOLE = re.compile(r"[0-9]{1,19}")
_NUMBER = re.compile(r"[0-9]{1,9}([.][0-9]{0,9})?")
_SIZE = re.compile(r"([0-9]{1,6}) ?[xX×] ?([0-9]{1,6})")


def read_form(form: Mapping[str, Any], limits: Limits) -> DrawRequest:
    """A request, from texts.

    Args:
        form: Text by field: prompt, negative_prompt, sampler, cfg_scale, steps, seed, size.
        limits: Of the server.

    Raises:
        RequestError: What one of them says cannot be; it names the field.
    """
    texts = {name: _text(form, name) for name in _TEXTS}
    sizes = _size(_text(form, "size"))
    numbers = {
        "cfg_scale": _number(form, "cfg_scale", "CFG scale", float, 1, 30),
        "steps": _number(form, "steps", "Steps", int, 2, limits.most_steps),
        "seed": _number(form, "seed", "Seed", int, 0, _LARGEST_SEED),
    }
    try:
        return read_request(texts | sizes | numbers, limits)
    except RequestError as error:
        said = error.message.removeprefix(f"{error.field}: ")
        raise RequestError(f"{said[:1].upper()}{said[1:]}.", field=error.field) from None


def _text(form: Mapping[str, Any], name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise RequestError("This must be a text.", field=name)
    return value


def _number(
    form: Mapping[str, Any],
    name: str,
    label: str,
    kind: Callable[[str], float],
    low: int,
    high: int,
) -> float:
    text = _text(form, name).strip()
    pattern, article = (_WHOLE, "a whole number") if kind is int else (_NUMBER, "a number")
    if not pattern.fullmatch(text) or not low <= (value := kind(text)) <= high:
        raise RequestError(f"{label} must be {article} from {low} to {high}.", field=name)
    return value


def _size(text: str) -> dict[str, int]:
    if not text.strip():
        return {}
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise RequestError("Write width x height, such as 832x1216.", field="size")
    return {"width": int(found[1]), "height": int(found[2])}
