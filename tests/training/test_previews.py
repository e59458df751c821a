"""A preview, `nadir generate` and the evaluation draw one picture of one prompt and seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tests.training.test_trainer import train
from typer.testing import CliRunner

from nadir.cli import app
from nadir.ground.pages.pictures import read_facts
from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.sampling.generate import generate
from nadir.sampling.prompt_encodings import PromptEncodings, text_encoder
from nadir.sampling.prompt_format import PromptFormat
from nadir.training.reports.previews import CFG_SCALE, STEPS


def test_previews_generate_and_evaluation_agree_to_the_bit(project: Path, tmp_path: Path) -> None:
    # Another name of the tag, which previews look up in the rules and the others in the checkpoint.
    asked = "(1girl:1.1), Redhead"
    recorder = train(tmp_path / "w", latent_scaling="per_channel", preview_prompts=[asked])
    _, prompt, preview = recorder.previews[-1]
    assert prompt == asked
    preview.save(tmp_path / "preview.png")
    facts = read_facts(tmp_path / "preview.png")
    seed = facts["seed"]
    model = tmp_path / "w/output/checkpoint"
    size = f"{preview.width}x{preview.height}"
    drawn = tmp_path / "drawn.png"
    arguments = ["generate", prompt, "--model", str(model), "--seed", str(seed)]
    arguments += ["--cfg", str(CFG_SCALE), "--steps", str(STEPS), "--size", size]
    result = CliRunner().invoke(app, [*arguments, "--output", str(drawn)], catch_exceptions=False)
    assert result.exit_code == 0
    np.testing.assert_array_equal(np.asarray(Image.open(drawn)), np.asarray(preview))
    pipeline = load_pipeline(model)
    prompt_format = PromptFormat.of(load_checkpoint_info(model).training)
    encodings = PromptEncodings(
        text_encoder(pipeline),
        prompt_format.captions,
        prompt_format.original_size,
        aliases=prompt_format.aliases,
    )
    assert encodings.written(prompt) == "1girl, red_hair"
    (evaluated,) = generate(
        pipeline,
        [(prompt, seed)],
        encodings=encodings,
        cfg_scale=CFG_SCALE,
        steps=STEPS,
        size=preview.size,
    )
    np.testing.assert_array_equal(np.asarray(evaluated.image), np.asarray(preview))
    assert read_facts(drawn) == facts
