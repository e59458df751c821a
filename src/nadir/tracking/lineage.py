"""The tags that answer: which images, code and parameters made this model?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.ground import artifacts
from nadir.ground.files import file_hash, read_json
from nadir.ground.workspace import PARAMS_FILE
from nadir.tracking.lock_file import LOCK_FILE, output_hashes, read_lock
from nadir.tracking.revision import git_state

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.tracking.revision import Experiment

FINGERPRINT_TAG = "dvc.stage_fingerprint"
OUTPUT_TAG = "out.md5"
COPY_TAG = "nadir.copy"
"""On a version that holds its weights: their precision, `checkpoint` or `fp16`."""
LICENCE_TAG = "nadir.licence"
"""On a version: the model's licence, as params.yaml stated it then."""
MODEL_TAG = "nadir.model_id"
"""On a version: the logged model whose files it has, which MLflow's database does not keep."""


def lineage_tags(
    root: Path,
    *,
    fingerprint: str,
    flow_run_id: str = "",
    experiment: Experiment | None = None,
    output: bool = True,
) -> dict[str, str]:
    """The same tags for a run and for the model version made from it.

    Args:
        root: The project's root.
        fingerprint: Of the `train` stage.
        flow_run_id: Prefect's id of the flow run, if there is one.
        experiment: The DVC experiment that holds the exact state, if it was saved.
        output: Whether `train` has finished, so that `dvc.lock` describes this very run.

    Returns:
        Tags with a value; what is unknown is left out. `git.fault` says why there is no commit,
        or no experiment.
    """
    hashes = output_hashes(read_lock(root))
    tags = {
        **git_state(root).tags(),
        FINGERPRINT_TAG: fingerprint,
        "params.sha256": _hash_if_there(root / PARAMS_FILE),
        "env.lock_sha256": _hash_if_there(root / "requirements.lock"),
        "data.md5": hashes.get(str(artifacts.LATENTS), ""),
        "base_model.revision": base_revision(root),
        "prefect.flow_run_id": flow_run_id,
    }
    if output:
        tags |= {
            OUTPUT_TAG: hashes.get(str(artifacts.CHECKPOINT), ""),
            "dvc.lock_sha256": _hash_if_there(root / LOCK_FILE),
            "dvc.exp_rev": experiment.commit if experiment else "",
            "dvc.exp_name": experiment.name if experiment else "",
        }
        if experiment and experiment.fault and not tags["git.fault"]:
            tags["git.fault"] = f"no experiment: {experiment.fault}"
    return {key: value for key, value in tags.items() if value}


def base_revision(root: Path) -> str:
    """`source@revision` of the base model; the hash of its U-Net where there is no revision."""
    path = root / artifacts.BASE / "base.json"
    if not path.is_file():
        return ""
    base = read_json(path)
    return f"{base.get('source', '')}@{base.get('revision') or base.get('unet_hash', '')}"


def _hash_if_there(path: Path) -> str:
    return file_hash(path) if path.is_file() else ""
