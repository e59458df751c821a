"""Report pages: one HTML file each, no network, the same calm look everywhere."""

from __future__ import annotations

import base64
import io

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from nadir.ground.pages.drawing import COLOURS
from nadir.ground.terminal import harmless

# Below this side WebP is stored without loss: tiny images are shown enlarged, and loss would show.
_LOSSLESS_SIDE_PX = 128
_QUALITY = 82


def render_page(template: str, *, package: str, **context: object) -> str:
    """Render a page that extends `base.html`.

    Everything put into a page is escaped unless it is `Markup` (the charts are), so prompts, tags
    and file names may hold any text; control characters and marks of direction stand there as their
    codes. A variable the template names and `context` lacks is an error.

    Args:
        template: File name in the `templates` folder of `package`.
        package: Dotted name of the room that owns the template, such as `nadir.evaluation`.
        **context: The template's variables.

    Returns:
        The page's HTML.
    """
    loaders = [PackageLoader(package), PackageLoader("nadir.ground")]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["colours"] = COLOURS
    environment.globals["picture_figure"] = picture_figure
    environment.filters["number"] = number
    environment.filters["sentence"] = sentence
    # Of the whole page: charts bring their texts within markup.
    return harmless(environment.get_template(template).render(**context))


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table: `digits` decimals, whole numbers without, a dash for None."""
    if value is None:
        return "\N{EN DASH}"
    if float(value).is_integer() or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    # A small number is not rounded to nothing.
    return f"{value:.2g}" if abs(value) < 0.5 * 10**-digits else f"{value:.{digits}f}"


def sentence(text: str) -> str:
    """The text with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]


def picture_figure(uri: str, alt: str, caption: str = "") -> Markup:
    """A picture that can be enlarged, with what it shows in words."""
    note = Markup("<figcaption>{}</figcaption>").format(caption) if caption else ""
    return Markup(
        '<figure class="picture" tabindex="0"><img src="{}" alt="{}" title="{}">{}</figure>'
    ).format(uri, alt, alt, note)


def thumbnail_uri(image: Image.Image, side: int) -> str:
    """A `data:` URI of the image as WebP, shrunk so that its longer side is at most `side` pixels.

    Small images are kept without loss and never enlarged; the page enlarges them.
    """
    picture = image.convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    lossless = max(picture.size) <= _LOSSLESS_SIDE_PX
    picture.save(buffer, "WEBP", lossless=lossless, quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
