"""What the project says of a model that leaves it: which version it is, and its licence."""

from __future__ import annotations

from nadir.ground.errors import NadirError

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
    from nadir.ground.workspace import project_root
    from nadir.tracking.registry.versions import resolve_version, version_uri

    root = project_root()
    version = resolve_version(model or version_uri("champion", root), root)
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
    """`register.licence` of params.yaml; None of a model of others or where it states none.

    Args:
        model: What `--model` was given; None is the champion.
    """
    from nadir.config.reader import read_section
    from nadir.config.register import RegisterParams
    from nadir.ground.workspace import PARAMS_FILE, expanded, project_root

    try:
        root = project_root()
        params = read_section("register", RegisterParams, root / PARAMS_FILE)
    except NadirError:
        return None
    is_path = model is not None and not model.startswith("models:/")
    if is_path and not expanded(str(model)).resolve().is_relative_to(root):
        return None
    return params.licence
