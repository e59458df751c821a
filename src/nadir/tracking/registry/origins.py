"""What made a version, in words for pages: run, code, parameters, data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.config.reader import read_yaml
from nadir.ground.secrets import masked
from nadir.ground.workspace import PARAMS_FILE
from nadir.tracking.lineage import FINGERPRINT_TAG, OUTPUT_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nadir.tracking.registry.versions import Version

_TAGS = {
    "Parameters": ("params.sha256", "params.yaml, sha256 {}"),
    "Stage train": (FINGERPRINT_TAG, "fingerprint {}"),
    "Weights": (OUTPUT_TAG, "models/checkpoint, md5 {}"),
    "Latents": ("data.md5", "data/latents, md5 {}"),
    "Base model": ("base_model.revision", "{}"),
    "Packages": ("env.lock_sha256", "requirements.lock, sha256 {}"),
    "State of DVC": ("dvc.lock_sha256", "dvc.lock, sha256 {}"),
    "Experiment": ("dvc.exp_rev", "commit {}"),
    "Flow run": ("prefect.flow_run_id", "{}"),
}
_SECTIONS = ("noise", "train")


def origin_facts(version: Version) -> dict[str, str]:
    """Facts by name, as the version's tags have them; what is not known is left out."""
    tags = version.tags
    facts = {
        "Version": f"{version.name} {version.version}",
        "MLflow run": version.run_id or "",
        "Code": _code(tags),
    }
    facts |= {name: text.format(tags[tag]) for name, (tag, text) in _TAGS.items() if tags.get(tag)}
    return {name: text for name, text in facts.items() if text}


def training_parameters(root: Path) -> dict[str, str]:
    """The sections that make a training, one text each: `key value, …`."""
    sections = read_yaml(root / PARAMS_FILE)
    return {
        f"params.yaml {name}": masked(", ".join(_flat(sections[name])))
        for name in _SECTIONS
        if isinstance(sections.get(name), dict)
    }


def _code(tags: Mapping[str, str]) -> str:
    commit = tags.get("git.commit", "")
    if not commit:
        return tags.get("git.fault", "")
    changed = tags.get("git.dirty") == "true"
    return f"commit {commit}" + (", with changes that were not committed" if changed else "")


def _flat(section: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} {value}"
