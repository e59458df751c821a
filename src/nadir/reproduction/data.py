"""The projects that arms share: pictures, latents and the base model, made once by the stages."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nadir
from nadir.config.edit import set_values
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import canonical_hash, file_hash, link_tree
from nadir.ground.workspace import PARAMS_FILE
from nadir.reproduction.dataset import LEVELS, RARE, make_pictures, prompt_of

if TYPE_CHECKING:
    from nadir.reproduction.arms import Size

_STAGES = ("ingest", "validate", "bucket", "base_model", "tag_statistics", "encode",
           "latent_statistics")  # fmt: skip
_NOISY_SHARE = {"clean": 0.0, "noisy": 0.3}
_PRESET, _DONE = "presets/tiny.yaml", "made.json"
_ROOMS = ("diffusion", "data", "heldout", "model", "sampling", "synthetic", "training",
          "evaluation", "stages", "config")  # fmt: skip


def code_hash() -> str:
    """Of all that makes data, trains and measures; other code leaves results as they are."""
    package = Path(nadir.__file__).parent
    own = [
        package / "reproduction" / name
        for name in ("data.py", "dataset.py", "decoder.py", "measuring.py")
    ]
    rooms = [path for room in _ROOMS for path in (package / room).rglob("*.py")]
    files = sorted([*own, *rooms])
    return canonical_hash([[str(p.relative_to(package)), file_hash(p)] for p in files])


@functools.cache
def data_key(root: Path, name: str, size: Size) -> str:
    """16 hex digits of all that a data project is made of; arguments as `data_project` has them.

    Computed once a process: what is edited under way does not change the data under an arm.
    """
    preset = root / _PRESET
    parameters = file_hash(preset) if preset.is_file() else ""
    return canonical_hash([name, vars(size), code_hash(), parameters])[:16]


def data_project(root: Path, work: Path, name: str, size: Size) -> Path:
    """A project with pictures, latents, statistics and the base model.

    Args:
        root: The project whose `dvc.yaml` and tiny preset are taken.
        work: `work/reproduction`.
        name: `clean` or `noisy`.
        size: How many pictures, how large.

    Raises:
        NadirError: A stage failed.
    """
    folder = work / "data" / f"{name}-{data_key(root, name, size)}"
    if (folder / _DONE).is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    _write(root, folder, size)
    make_pictures(folder / "data/sample", size.images, noisy=_NOISY_SHARE[name])
    for stage in _STAGES:
        _run_stage(stage, folder)
    (folder / _DONE).write_text(json.dumps({"size": vars(size)}) + "\n", encoding="utf-8")
    return folder


def data_hash(project: Path) -> str:
    """Of what a training reads from such a project."""
    files = [artifacts.MANIFEST, artifacts.TAGS, artifacts.LATENT_STATISTICS,
             artifacts.LATENTS / "index.parquet", Path(PARAMS_FILE)]  # fmt: skip
    weights = sorted((project / artifacts.BASE).rglob("*.safetensors"))
    return canonical_hash([file_hash(path) for path in [*(project / f for f in files), *weights]])


def link_base(base: Path, network: Path, target: Path) -> None:
    """A base model like another one with the U-Net of a checkpoint."""
    for part in sorted(base.iterdir()):
        if part.name == "unet":
            continue
        if part.is_dir():
            link_tree(part, target / part.name)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part, target / part.name)
    link_tree(network / "unet", target / "unet")


def _write(root: Path, folder: Path, size: Size) -> None:
    folder.mkdir(parents=True)
    shutil.copyfile(root / "dvc.yaml", folder / "dvc.yaml")
    shutil.copyfile(root / _PRESET, folder / PARAMS_FILE)
    set_values(_settings(size), folder / PARAMS_FILE)


def _settings(size: Size) -> list[str]:
    side, steps = size.side_px, size.steps
    rung = '{{id: {0}, prompt: "{1}", target: {2}, region: border}}'
    rungs = {name: rung.format(name, prompt_of(name), target) for name, target in LEVELS.items()}
    between = ", ".join(text for name, text in rungs.items() if name not in {"black", "white"})
    rare = ", ".join(json.dumps(prompt_of(colour)) for colour in RARE)
    return [
        f"bucket.max_area_px={side * side}", "bucket.min_side_px=24", "bucket.min_images=8",
        "base_model.tiny.vae_channels=[16, 32]", f"base_model.tiny.vae_steps={size.vae_steps}",
        "base_model.tiny.unet_channels=[16, 32]", "base_model.tiny.attention_head_dim=8",
        f"train.steps={steps}", f"train.warmup_steps={min(10, steps // 4)}",
        f"train.batch_size={size.batch}", "train.learning_rate=0.008", "train.ema_decay=0.9",
        "train.caption.drop_tag=0.0", "train.preview_every=0",
        "train.validation={every: 0, images: 24, levels: 2}",
        f"train.checkpoint_every={max(steps // 4, 1)}", "compute.device=cpu",
        "compute.workers=1", "evaluate.cfg_scales=[3.5]", "evaluate.decision_cfg=3.5",
        f"evaluate.steps={size.drawing_steps}", f"evaluate.width_px={side}",
        f"evaluate.height_px={side}", "evaluate.batch_size=20", f"evaluate.prompts=[{rare}]",
        "evaluate.holdout_prompts=0", f"evaluate.brightness=[{rungs['black']}, {rungs['white']}]",
        f"evaluate.brightness_ladder=[{between}]", "evaluate.colour_binding=null",
        "evaluate.canvases=[]", f"evaluate.seeds={list(range(1, size.noises + 1))}",
        "evaluate.loss_images=24",
    ]  # fmt: skip


def _run_stage(stage: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"nadir.stages.{stage}"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NadirError(
            f"the stage {stage} of the reproduction's data failed",
            where=str(folder),
            fix=f"see its last lines: {done.stderr.strip()[-400:]}",
        )
