"""One model that draws requests as PNG files."""

from __future__ import annotations

import copy
import functools
import io
from typing import TYPE_CHECKING

from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

from nadir.diffusion.names import SAMPLER_NAMES
from nadir.serving.draw_request import RequestError
from nadir.serving.sizes import sizes_of

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import StableDiffusionXLPipeline

    from nadir.serving.draw_request import DrawRequest
    from nadir.serving.sizes import Size

_KEPT_PROMPTS = 64


class Drawer:
    """A model in memory; a picture is a function of its request and size alone.

    Args:
        model: A checkpoint, any SDXL in diffusers' layout, or a single `.safetensors` file.
        device: Where to draw.
        most_pixels: Of a picture; None is four times the square that the model is made for.

    Attributes:
        device: Where it draws.
        multiple: What both sides of a picture are multiples of, pixels.
        sizes: What it draws.

    Raises:
        NadirError: No such model, or one that Nadir cannot draw with.
    """

    def __init__(self, model: Path, *, device: str = "cpu", most_pixels: int | None = None) -> None:
        from nadir.diffusion.samplers import make_sampler
        from nadir.model.load import load_checkpoint_info, load_pipeline
        from nadir.sampling.prompt_encodings import PromptEncodings
        from nadir.sampling.prompt_format import PromptFormat

        info = load_checkpoint_info(model)
        make = functools.partial(make_sampler, info.schedule, prediction=info.noise["prediction"])
        self._samplers = {str(name): make(name=name) for name in SAMPLER_NAMES}
        self._pipeline = load_pipeline(model, device=device)
        form = PromptFormat.of(info.training)
        self._encodings = PromptEncodings.of(self._pipeline, form, most=_KEPT_PROMPTS)
        factor = self._pipeline.vae_scale_factor
        side = self._pipeline.unet.config.sample_size * factor
        self.device, self.multiple = device, 2 * factor
        self.sizes = sizes_of(info.training, side, self.multiple, most_pixels)

    def draw(self, request: DrawRequest, size: Size) -> bytes:
        """The picture as a PNG file that says how it was drawn.

        Args:
            request: What was asked for.
            size: Width and height, one of `sizes`.

        Raises:
            RequestError: The model is broken.
        """
        from nadir.ground.pages.pictures import with_facts
        from nadir.sampling.generate import generate

        (drawing,) = generate(
            self._with_sampler(request.sampler),
            [(request.prompt, request.seed)],
            encodings=self._encodings,
            cfg_scale=request.cfg_scale,
            steps=request.steps,
            size=size,
            negative=request.negative_prompt,
        )
        if not (drawing.latents_finite and drawing.pixels_finite):
            raise RequestError("the model put out NaN or infinity", INTERNAL_ERROR)
        image = drawing.image
        asked = (request.width or self.sizes.side, request.height or self.sizes.side)
        if asked != size and (request.width or request.height):
            sizes = {"asked_size": list(asked), "drawn_size": list(size)}
            image = with_facts(image, drawing.facts | sizes)
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return buffer.getvalue()

    def move(self, device: str) -> None:
        """Draw on another device from now on."""
        self._pipeline.to(device)
        self.device = device

    def _with_sampler(self, name: str) -> StableDiffusionXLPipeline:
        # Each call copies its sampler, so that they may share one.
        pipeline = copy.copy(self._pipeline)
        pipeline.scheduler = self._samplers[name]
        return pipeline
