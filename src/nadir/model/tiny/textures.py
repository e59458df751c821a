"""Pictures the tiny VAE learns from: flat colours, gradients, shapes, lines, grain, figures.

They are drawn from a seed and share nothing with any dataset, so that the tiny base, like a
downloaded one, is the same for every user.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    Colour = tuple[int, int, int]

_OVERSAMPLING = 2  # drawn larger and shrunk, which is what makes edges smooth


def draw_texture(rng: np.random.Generator, side: int) -> Image.Image:
    """One square picture, a window into a larger drawing.

    Args:
        rng: Source of every choice.
        side: Width and height in pixels.

    Returns:
        An RGB image.
    """
    whole = side * 3 // 2
    canvas = _background(rng, whole * _OVERSAMPLING)
    kind = rng.random()
    if kind < 0.08:
        pass  # the bare background
    elif kind < 0.35:
        _shapes(rng, canvas, int(rng.integers(1, 12)))
    elif kind < 0.5:
        _lines(rng, canvas, int(rng.integers(2, 20)))
    else:
        _shapes(rng, canvas, int(rng.integers(0, 5)))
        for _ in range(int(rng.integers(1, 4))):
            _figure(rng, canvas)
        _lines(rng, canvas, int(rng.integers(0, 3)))
    left, top = (int(edge) for edge in rng.integers(0, whole - side + 1, 2))
    image = canvas.reduce(_OVERSAMPLING).crop((left, top, left + side, top + side))
    return _finish(rng, image)


def texture_batches(seed: int, side: int, batch_size: int, count: int) -> Iterator[np.ndarray]:
    """`count` batches of pictures, the same for the same seed.

    Yields:
        uint8 arrays [batch_size, side, side, 3].
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield np.stack([np.asarray(draw_texture(rng, side)) for _ in range(batch_size)])


def _colour(rng: np.random.Generator) -> Colour:
    """Mostly any colour; often pure black, white or a grey, where drawings spend their area."""
    kind = rng.random()
    if kind < 0.12:
        return (0, 0, 0)
    if kind < 0.24:
        return (255, 255, 255)
    if kind < 0.32:
        return (int(rng.integers(256)),) * 3
    red, green, blue = rng.integers(0, 256, 3)
    return (int(red), int(green), int(blue))


def _background(rng: np.random.Generator, side: int) -> Image.Image:
    if rng.random() < 0.6:
        return Image.new("RGB", (side, side), _colour(rng))
    start, end = (np.array(_colour(rng), np.float32) for _ in range(2))
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / (side - 1) - 0.5
    ramp = x * math.cos(angle) + y * math.sin(angle)
    if rng.random() < 0.3:
        ramp = np.hypot(x - rng.uniform(-0.3, 0.3), y - rng.uniform(-0.3, 0.3))
    ramp = ((ramp - ramp.min()) / (ramp.max() - ramp.min()))[..., None]
    return Image.fromarray((start + (end - start) * ramp).round().astype(np.uint8))


def _shapes(rng: np.random.Generator, canvas: Image.Image, count: int) -> None:
    """Ellipses, rectangles and polygons, half of them outlined."""
    draw = ImageDraw.Draw(canvas)
    side = canvas.width
    for _ in range(count):
        x, y = rng.uniform(-0.1, 1.1, 2) * side
        width, height = np.exp(rng.uniform(math.log(0.03), math.log(0.7), 2)) * side
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        outline = _colour(rng) if rng.random() < 0.5 else None
        stroke = int(rng.integers(1, 4 * _OVERSAMPLING))
        kind = rng.random()
        if kind < 0.5:
            draw.ellipse(box, fill=_colour(rng), outline=outline, width=stroke)
        elif kind < 0.7:
            draw.rectangle(box, fill=_colour(rng), outline=outline, width=stroke)
        else:
            _polygon(rng, draw, (x, y), max(width, height) / 2)


def _polygon(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float
) -> None:
    corners = int(rng.integers(3, 9))
    angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
    radii = radius * rng.uniform(0.4, 1.0, corners)
    points = [
        (centre[0] + r * math.cos(a), centre[1] + r * math.sin(a))
        for a, r in zip(angles, radii, strict=True)
    ]
    draw.polygon(points, fill=_colour(rng))


def _lines(rng: np.random.Generator, canvas: Image.Image, count: int) -> None:
    """Bent strokes, as in hair, grass and outlines."""
    draw = ImageDraw.Draw(canvas)
    t = np.linspace(0, 1, 12)[:, None]
    colour = _colour(rng)
    for _ in range(count):
        start, bend, end = rng.uniform(0, 1, (3, 2)) * canvas.width
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        if rng.random() < 0.5:
            colour = _colour(rng)
        width = int(rng.integers(1, 3 * _OVERSAMPLING))
        draw.line([(float(x), float(y)) for x, y in curve], fill=colour, width=width, joint="curve")


def _figure(rng: np.random.Generator, canvas: Image.Image) -> None:
    """Body, hair and face, often outlined: small strong contrasts beside flat areas."""
    draw = ImageDraw.Draw(canvas)
    x, y = rng.uniform(0.1, 0.9, 2) * canvas.width
    r = math.exp(rng.uniform(math.log(6), math.log(26))) * _OVERSAMPLING
    line = _colour(rng) if rng.random() < 0.3 else tuple(int(v) for v in rng.integers(0, 70, 3))
    style: dict[str, Any] = {"outline": line, "width": int(rng.integers(1, 2 * _OVERSAMPLING + 1))}
    if rng.random() < 0.2:
        style = {}
    hair, skin = _colour(rng), _skin(rng)
    length = rng.uniform(0.6, 2.5) * r
    draw.ellipse((x - 1.2 * r, y - 1.3 * r, x + 1.2 * r, y + length), fill=hair, **style)
    body = (x - 0.7 * r, y + 0.8 * r, x + 0.7 * r, y + rng.uniform(1.6, 3) * r)
    draw.rounded_rectangle(body, radius=0.3 * r, fill=_colour(rng), **style)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=skin, **style)
    draw.chord((x - 1.1 * r, y - 1.2 * r, x + 1.1 * r, y + 0.6 * r), 190, 350, fill=hair, **style)
    _eyes(rng, draw, (x, y), r)
    box = (x - 0.3 * r, y + 0.3 * r, x + 0.3 * r, y + 0.7 * r)
    draw.arc(box, 20, 160, fill=_colour(rng), width=_OVERSAMPLING * int(rng.integers(1, 3)))


def _eyes(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, centre: tuple[float, float], r: float
) -> None:
    size, colour = r * rng.uniform(0.12, 0.28), _colour(rng)
    for sign in (-1, 1):
        x, y = centre[0] + sign * 0.4 * r, centre[1] + 0.1 * r
        draw.ellipse((x - size, y - 1.4 * size, x + size, y + 1.4 * size), fill=(255, 255, 255))
        draw.ellipse((x - 0.8 * size, y - size, x + 0.8 * size, y + size), fill=colour)
        draw.ellipse((x - 0.4 * size, y - size / 2, x + 0.4 * size, y + size / 2), fill=(0, 0, 0))


def _skin(rng: np.random.Generator) -> Colour:
    if rng.random() < 0.4:
        return _colour(rng)
    light = rng.uniform(0.3, 1.0)
    return (int(255 * light), int(220 * light), int(195 * light))


def _finish(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Sometimes grain, sometimes softness."""
    kind = rng.random()
    if kind < 0.1:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 2.0)))
    if kind < 0.2:
        coarse = int(rng.choice([1, 2, 4, 8]))
        cells = max(image.width // coarse, 1)
        grain = rng.normal(0, rng.uniform(4, 40), (cells, cells, 1 if rng.random() < 0.5 else 3))
        grain = np.broadcast_to(grain, (cells, cells, 3)).repeat(coarse, 0).repeat(coarse, 1)
        pixels = np.asarray(image, np.float32)
        height, width = grain.shape[:2]
        pixels[:height, :width] += grain
        return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))
    return image
