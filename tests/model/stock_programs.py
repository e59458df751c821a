"""What stock libraries make of a folder; runs in an environment of its own, without Nadir.

Arguments: a job (JSON: prompt, steps, width, height, seed, and the paths of first noise and
picture) and a folder for what is seen; then the models' folders, each seen in `<its name>.npz`.
"""

import json
import logging
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

PARTS = {
    "text_encoder": transformers.CLIPTextModel,
    "text_encoder_2": transformers.CLIPTextModelWithProjection,
    "unet": diffusers.UNet2DConditionModel,
    "vae": diffusers.AutoencoderKL,
}


def loading_faults(folder):
    """Per part, what its class did not find, did not know or found in another shape."""
    faults = {}
    for part, kind in PARTS.items():
        _, info = kind.from_pretrained(folder / part, output_loading_info=True)
        names = ("missing_keys", "unexpected_keys", "mismatched_keys")
        faults[part] = sorted(str(key) for name in names for key in info.get(name) or ())
    return faults


def look_at(folder, job):
    """Load, encode and draw with the three pipelines that exist for every SDXL."""
    seen = {"faults": json.dumps(loading_faults(folder))}
    seen["versions"] = f"{transformers.__version__} {diffusers.__version__}"
    seen["tokens"] = json.dumps(
        [
            transformers.CLIPTokenizer.from_pretrained(folder / part)(job["prompt"]).input_ids
            for part in ("tokenizer", "tokenizer_2")
        ]
    )
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
    hidden, _, pooled, _ = pipeline.encode_prompt(job["prompt"], device="cpu")
    seen["hidden"], seen["pooled"] = hidden.detach().numpy(), pooled.detach().numpy()
    size = {"width": job["width"], "height": job["height"]}
    asked = {"prompt": job["prompt"], "num_inference_steps": job["steps"], "output_type": "np"}
    noise = torch.from_numpy(np.load(job["noise"]))
    drawn = pipeline(**asked, **size, latents=noise, guidance_scale=4.5)
    seen["text_to_image"] = drawn.images[0]
    picture = Image.open(job["picture"])
    # Made of `pipeline.components` they would forget that the empty prompt is not zeros.
    generator = torch.Generator().manual_seed(job["seed"])
    other = diffusers.StableDiffusionXLImg2ImgPipeline.from_pipe(pipeline)
    drawn = other(**asked, image=picture, strength=0.5, generator=generator, guidance_scale=4.5)
    seen["image_to_image"] = drawn.images[0]
    other = diffusers.StableDiffusionXLInpaintPipeline.from_pipe(pipeline)
    # A black mask keeps all of the picture.
    mask = Image.new("L", picture.size, 0)
    drawn = other(**asked, **size, image=picture, mask_image=mask, generator=generator)
    seen["inpainting"] = drawn.images[0]
    return seen


def main():
    """Look at all models."""
    job, out = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    logging.disable(logging.WARNING)
    for folder in map(Path, sys.argv[3:]):
        np.savez(out / f"{folder.name}.npz", **look_at(folder, job))


if __name__ == "__main__":
    main()
