"""What the project says of a model that leaves it: which version it is, and its licence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.cli.model.models import champion_uri
from nadir.ground.errors import NadirError
from nadir.tracking.lineage import LICENCE_TAG

if TYPE_CHECKING:
    from nadir.tracking.registry.versions import Version

_SHOWN = 12  # digits of a hash; no places of this machine, which others are not concerned with


def origin_of(model: str | None) -> str | None:
    """A sentence on where a registered version comes from; None of any other model.

    Args:
        model: What `--model` was given; None is the champion.

    Raises:
        NadirError: The registry cannot be asked.
    """
    if model is not None and not model.startswith("models:/"):
        return None
    version = _version(model)
    tags = version.tags
    commit = tags.get("dvc.exp_rev") or tags.get("git.commit", "")
    facts = {
        "MLflow run": version.run_id,
        "commit": commit[:_SHOWN],
        "latents": tags.get("data.md5", "")[:_SHOWN],
    }
    told = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    return f"Registered as {version.name} version {version.version}" + (f" ({told})." * bool(told))


def licence_of(model: str | None) -> str | None:
    """What a registered version says; of a folder in the project, what params.yaml says.

    Args:
        model: What `--model` was given; None is the champion.

    Returns:
        None of a model of others, or where none is stated.

    Raises:
        NadirError: The registry cannot be asked.
    """
    if model is None or model.startswith("models:/"):
        return _version(model).tags.get(LICENCE_TAG)
    from nadir.config.reader import read_section
    from nadir.config.register import RegisterParams
    from nadir.ground.workspace import PARAMS_FILE, expanded, project_root

    try:
        root = project_root()
        params = read_section("register", RegisterParams, root / PARAMS_FILE)
    except NadirError:
        return None
    return params.licence if expanded(model).resolve().is_relative_to(root) else None


def _version(model: str | None) -> Version:
    from nadir.ground.workspace import project_root
    from nadir.tracking.registry.versions import resolve_version

    return resolve_version(model or champion_uri(), project_root())
