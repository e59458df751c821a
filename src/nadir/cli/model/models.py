"""`--model`: a registered version, a diffusers folder or a single file, as a path on this disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nadir.ground.errors import NadirError
from nadir.ground.workspace import expanded

if TYPE_CHECKING:
    from pathlib import Path

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="models:/NAME@ALIAS, models:/NAME/VERSION, a diffusers folder or a .safetensors "
        "file; else the champion of this project.",
        metavar="MODEL",
    ),
]


def model_path(model: str | None) -> Path:
    """Where the weights lie; those of a registered version are fetched where they are missing.

    Args:
        model: What `--model` was given; None is the champion of the model that params.yaml names.

    Raises:
        NadirError: There is no such model, or its files are damaged.
    """
    model = model or champion_uri()
    if model.startswith("models:/"):
        from nadir.pipeline.storage.cache import resolve_model

        return resolve_model(model)
    path = expanded(model)
    if not path.exists():
        raise NadirError(
            f"no such model: {model}",
            where="--model",
            fix="name a folder, a file, or a registered model such as models:/nadir@champion",
        )
    _require_sound(path)
    return path


def _require_sound(path: Path) -> None:
    """Refuse the project's own checkpoint when it is not what was trained."""
    from nadir.ground import artifacts
    from nadir.ground.workspace import project_root

    try:
        root = project_root(path)
    except NadirError:
        return
    if path.resolve() == (root / artifacts.CHECKPOINT).resolve():
        from nadir.pipeline.storage.cache import require_sound

        require_sound(root)


def champion_uri() -> str:
    """The project's champion as an address: what is meant where no model is named."""
    from nadir.ground.workspace import project_root
    from nadir.tracking.registry.versions import CHAMPION, version_uri

    return version_uri(CHAMPION, project_root())
