"""Two models that draw the same request at the same size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.serving.draw_request import RequestError, size_of
from nadir.serving.drawer import Drawer

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.serving.draw_request import DrawRequest
    from nadir.serving.limits import Limits
    from nadir.serving.sizes import Size, Sizes

_CPU = "cpu"


@dataclass(frozen=True)
class Named:
    """A model to compare.

    Attributes:
        label: What the page calls it.
        path: Its folder or file.
    """

    label: str
    path: Path


class Pair:
    """Both models in memory; on a GPU they take turns, so that it must hold the larger one only.

    Args:
        models: The first says which sizes there are.
        device: Where to draw.
        limits: Of the server.

    Attributes:
        labels: Of both.

    Raises:
        NadirError: One of them cannot be drawn with.
    """

    def __init__(self, models: tuple[Named, Named], device: str, limits: Limits) -> None:
        self.labels = tuple(model.label for model in models)
        self._device = device
        first, second = models
        one = Drawer(first.path, device=_CPU, most_pixels=limits.most_pixels)
        same = first.path.resolve() == second.path.resolve()
        other = one if same else Drawer(second.path, device=_CPU, most_pixels=limits.most_pixels)
        self._drawers = (one, other)

    @property
    def sizes(self) -> Sizes:
        """What is drawn."""
        return self._drawers[0].sizes

    def size_of(self, request: DrawRequest) -> Size:
        """Width and height of both pictures.

        Raises:
            RequestError: The size may not be asked for, or only one of the models can draw it.
        """
        try:
            size = size_of(request, self.sizes)
        except RequestError as error:
            raise RequestError(
                f"{error.message[:1].upper()}{error.message[1:]}.", field="size"
            ) from None
        if any(side % drawer.multiple for side in size for drawer in self._drawers):
            raise RequestError(f"{size[0]}x{size[1]} cannot be drawn by both models.", field="size")
        return size

    def draw(self, side: int, request: DrawRequest, size: Size) -> bytes:
        """The PNG file of one of them, 0 or 1; not for several threads."""
        drawer, other = self._drawers[side], self._drawers[1 - side]
        if drawer.device != self._device:
            if other is not drawer:
                other.move(_CPU)
            drawer.move(self._device)
        return drawer.draw(request, size)
