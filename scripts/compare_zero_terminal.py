"""Does zero terminal SNR let the model draw black and white? The same training, with and without.

Trains the model of `params.yaml` four times on the workspace's latents, from the same base: with
v-prediction and zero terminal SNR; and with epsilon-prediction on the stock schedule, once with all
else equal, once with the min-SNR weight that is usual for it, and once without loss weights, as
SDXL itself was trained. All draw the brightness probes at every CFG scale from the same noise. The
tables go to the screen and, with a sheet of pictures, to docs/results/zero_terminal.md and .png.
The larger the canvas, the larger the difference: docs/results/zero_terminal_wide.md names the
parameters of pictures of 192 pixels.

    python scripts/compare_zero_terminal.py [--steps N] [--variants NAME ...] [--output FILE]

Run the pipeline first, or what its training reads: `nadir run --until tag_statistics` and
`nadir run --until latent_statistics`. It takes about four times the
training's time. The models stay in work/compare; the same command again goes on where it stopped,
and `nadir generate --model work/compare/epsilon/models/checkpoint` draws with one.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nadir.config.edit import set_values
from nadir.config.evaluate import BrightnessProbe, EvaluateParams
from nadir.config.reader import read_section, read_yaml
from nadir.diffusion.resolution import dc_leak
from nadir.diffusion.sdxl import LAST_SIGMA
from nadir.evaluation.metrics.brightness import region_luminance
from nadir.evaluation.report.grid import sample_grid
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json, write_text
from nadir.ground.workspace import PARAMS_FILE, project_root, work_folder
from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.sampling.generate import generate
from nadir.sampling.prompt_encodings import PromptEncodings, text_encoder
from nadir.sampling.prompt_format import PromptFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from nadir.sampling.generate import Drawing

VARIANTS = {
    "zero-terminal": (
        "v-prediction, zero terminal SNR",
        ["noise.prediction=v", "noise.zero_terminal_snr=true"],
    ),
    "epsilon": (
        "epsilon-prediction, stock schedule",
        ["noise.prediction=epsilon", "noise.zero_terminal_snr=false"],
    ),
    "epsilon-min-snr": (
        "epsilon-prediction, stock schedule, min-SNR weight",
        [
            "noise.prediction=epsilon",
            "noise.zero_terminal_snr=false",
            "train.loss_weight.name=min_snr",
        ],
    ),
    "epsilon-plain": (
        "epsilon-prediction, stock schedule, no loss weights",
        [
            "noise.prediction=epsilon",
            "noise.zero_terminal_snr=false",
            "train.loss_weight.name=none",
        ],
    ),
}
SHEET_SEEDS = 3
# What a training needs of the workspace; all of it is only read.
NEEDED = ("data", "models/base", "src", "dvc.yaml", PARAMS_FILE)
READ_IN_DATA = ("data/tags.parquet", "data/latent_statistics.json")
_FIRST = "run `nadir run --until tag_statistics` and `nadir run --until latent_statistics` first"


def main() -> None:
    """Train all, measure all, tell the result."""
    arguments = _arguments()
    root = project_root()
    params = read_section("evaluate", EvaluateParams, root / PARAMS_FILE)
    output = arguments.output or root / "docs" / "results" / "zero_terminal.md"
    sheet = output.with_suffix(".png")
    blocks, pictures = [], {}
    for name in arguments.variants:
        title, settings = VARIANTS[name]
        folder = work_folder("compare") / name
        _lay_out(root, folder)
        train(folder, settings, steps=arguments.steps)
        drawn = {scale: draw(folder, params, scale) for scale in params.cfg_scales}
        rows = [_row(params, scale, drawings) for scale, drawings in drawn.items()]
        blocks.append(f"## {title}\n\n{_table(params.brightness, rows)}")
        pictures[title] = drawn[params.decision_cfg]
    page = "\n\n".join([_head(params, arguments.steps, sheet.name), *blocks]) + "\n"
    write_text(output, page)
    _sheet(params, pictures).save(sheet, optimize=True)
    print(page)


def train(folder: Path, settings: Sequence[str], *, steps: int | None) -> None:
    """Run the stage `train` in a scratch project with changed noise settings.

    Raises:
        NadirError: The training failed.
    """
    changes = [*settings, "train.preview_every=0"]
    if steps is not None:
        changes += [f"train.steps={steps}", f"train.warmup_steps={min(50, steps // 10)}"]
    set_values(changes, folder / PARAMS_FILE)
    environment = {**os.environ, "NADIR_TRACKING": "none"}
    command = [sys.executable, "-m", "nadir.stages.train"]
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        raise NadirError("the training failed", where=" ".join(settings), fix="see the lines above")


def draw(folder: Path, params: EvaluateParams, cfg_scale: float) -> dict[str, list[Drawing]]:
    """Each probe drawn at one scale, once per seed."""
    checkpoint = folder / "models" / "checkpoint"
    pipeline = load_pipeline(checkpoint, sampler=params.sampler, spacing=params.spacing)
    prompt_format = PromptFormat.of(load_checkpoint_info(checkpoint).training)
    encodings = PromptEncodings(
        text_encoder(pipeline),
        prompt_format.captions,
        prompt_format.original_size,
        aliases=prompt_format.aliases,
    )
    return {
        probe.id: list(
            generate(
                pipeline,
                [(probe.prompt, seed) for seed in params.seeds],
                encodings=encodings,
                cfg_scale=cfg_scale,
                steps=params.steps,
                size=(params.width_px, params.height_px),
                batch_size=params.batch_size,
            )
        )
        for probe in params.brightness
    }


def _lay_out(root: Path, folder: Path) -> None:
    """A project that shares data, base model and code with the workspace, and nothing it writes."""
    for name in (*READ_IN_DATA, *NEEDED):
        if not (root / name).exists():
            raise NadirError(f"{name} is missing", where=str(root), fix=_FIRST)
    for name in NEEDED:
        source, target = root / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not source.is_dir():
            shutil.copyfile(source, target)
        elif not target.is_symlink():
            target.symlink_to(source)


def _row(params: EvaluateParams, scale: float, drawn: dict[str, list[Drawing]]) -> list[str]:
    targets = np.array([probe.target for probe in params.brightness])
    images = {name: np.stack([d.pixels_CHW for d in drawings]) for name, drawings in drawn.items()}
    measured = np.array([region_luminance(images[p.id], p.region) for p in params.brightness])
    error = np.sqrt(((measured - targets[:, None]) ** 2).mean())
    cells = [f"{v.mean():.3f} ({v.min():.2f} to {v.max():.2f})" for v in measured]
    mark = " (deciding)" if scale == params.decision_cfg else ""
    return [f"{scale:g}{mark}", *cells, f"{error:.3f}"]


def _table(probes: Sequence[BrightnessProbe], rows: list[list[str]]) -> str:
    names = [f"{probe.id}, asked {probe.target:g}" for probe in probes]
    header = ["CFG", *names, "brightness error"]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _sheet(params: EvaluateParams, pictures: dict[str, dict[str, list[Drawing]]]) -> Image:
    """A row per training, the first pictures of each probe side by side, at the deciding scale."""
    rows = [
        [drawing.image for drawings in drawn.values() for drawing in drawings[:SHEET_SEEDS]]
        for drawn in pictures.values()
    ]
    seeds = params.seeds[:SHEET_SEEDS]
    columns = [f"{probe.id}, seed {seed}" for probe in params.brightness for seed in seeds]
    return sample_grid(rows, row_labels=list(pictures), column_labels=columns)


def _differences() -> str:
    """The parameters that are not those of the tiny preset, as `--set` takes them."""
    here, tiny = (_flat(read_yaml(project_root() / n)) for n in (PARAMS_FILE, "presets/tiny.yaml"))
    changed = [f"`{key}={value}`" for key, value in here.items() if tiny.get(key) != value]
    return f"presets/tiny.yaml with {', '.join(changed)}" if changed else "presets/tiny.yaml"


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        k: v for name in tree for k, v in _flat(tree[name], f"{prefix}.{name}".strip(".")).items()
    }


def _head(params: EvaluateParams, steps: int | None, sheet: str) -> str:
    today = dt.datetime.now(tz=dt.UTC).date()
    machine = f"{platform.machine()} CPU, {os.cpu_count()} cores"
    command = " ".join(["python scripts/compare_zero_terminal.py", *sys.argv[1:]])
    trained = _differences() if steps is None else f"{_differences()}, {steps} steps"
    return (
        "# Zero terminal SNR against the stock schedule\n\n"
        f"Measured {today} by `{command}` on {machine}. Parameters: {trained}; pictures "
        f"of {params.width_px} x {params.height_px} pixels. Luminance (0-1), mean "
        f"over {len(params.seeds)} seeds with smallest and largest; the probes are those of "
        "`evaluate.brightness`, and the error is the root mean square over all of their images. "
        f"Only what a heading names differs.\n\n![At CFG {params.decision_cfg:g}]({sheet})\n\n"
        + _reading(params)
    )


def _reading(params: EvaluateParams) -> str:
    """How much of the effect a canvas of this size can show."""
    levels = read_json(project_root() / "models/base/vae/config.json")["block_out_channels"]
    pixels = params.width_px * params.height_px // 4 ** (len(levels) - 1)
    here, sdxl = (dc_leak(LAST_SIGMA, n) for n in (pixels, 128**2))
    grows = (
        "The fault of the stock schedule grows with the canvas. Where the prompt leaves the mean "
        f"colour open by half a deviation, an ideal denoiser of {pixels} latent pixels trusts the "
        f"mean of its first input by {here:.0%}, one of SDXL's 16,384 by {sdxl:.0%} "
        "([docs/diffusion.md](../diffusion.md#sigma-and-resolution))."
    )
    if here > 0.5:
        return grows
    return (
        f"{grows} On the small canvas the loss weight decides more than the schedule: it says how "
        "much the noisiest steps are trained."
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, help="training steps; else those of params.yaml")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--output", type=Path, help="page to write; else docs/results")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except NadirError as error:
        sys.exit(f"error: {error}")
