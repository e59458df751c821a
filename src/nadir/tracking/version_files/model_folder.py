"""A version as an MLflow model: a pointer to weights, or weights with the code that draws."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground import artifacts
from nadir.ground.files import write_json, write_text
from nadir.sampling.describing import only_described
from nadir.tracking.version_files.code import ServedCode, served_code
from nadir.tracking.version_files.requirements import pinned_requirements

if TYPE_CHECKING:
    from nadir.tracking.version_files.weights import Weights

MODEL_CODE = Path(__file__).parents[2] / "serving/model_code.py"
WEIGHTS_FILE = "weights.json"
"""In the artifacts of a copy: which files it holds, and their hashes."""
WEIGHTS_FOLDER = "artifacts/weights"
"""Where these lie in the model."""
EXAMPLE = [{"prompt": "1girl, red_hair, black_background", "seed": 1}]


def save_pointer(folder: Path, model_id: str, md5: str, root: Path) -> Path:
    """An MLflow model whose only weight is a hash.

    Args:
        folder: Where to write.
        model_id: Of the logged model.
        md5: DVC's hash of the checkpoint.
        root: The project's root.
    """
    pointer = folder / "pointer.json"
    write_json(pointer, {"path": str(artifacts.CHECKPOINT), "md5": md5})
    return _save(folder, model_id, {"pointer": str(pointer)}, _locked_requirements(root))


def save_copy(folder: Path, model_id: str, weights: Weights, *, on_s3: bool) -> Path:
    """An MLflow model that needs no clone: all of it but the files of the weights themselves.

    Those go to `WEIGHTS_FOLDER` from where they are, so that no second copy is made here.

    Args:
        folder: Where to write.
        model_id: Of the logged model.
        weights: What it will hold.
        on_s3: Whether it is loaded from S3, and not through MLflow's server.
    """
    facts = folder / WEIGHTS_FILE
    write_json(facts, weights.facts)
    code = served_code()
    requirements = pinned_requirements(code.imports, *(["boto3"] if on_s3 else []))
    saved = _save(folder, model_id, {"weights": str(facts)}, requirements, code=code)
    # Saved as the clone's, so that MLflow could read the signature off it without importing a
    # second time what is in this process already.
    path = saved / MODEL_CODE.name
    write_text(path, code.renamed(path.read_text(encoding="utf-8")))
    _name_size(saved, weights.size)
    return saved


def _save(
    folder: Path,
    model_id: str,
    files: dict[str, str],
    requirements: list[str],
    *,
    code: ServedCode | None = None,
) -> Path:
    import mlflow.pyfunc
    from mlflow.models import Model

    for name in ("mlflow.pyfunc", "mlflow.models"):
        logging.getLogger(name).setLevel(logging.ERROR)  # advice that no user here can follow
    options: dict[str, Any] = {}
    if code is not None:
        options = {"code_paths": [str(code.write(folder / "package"))]}
    with only_described():
        mlflow.pyfunc.save_model(
            str(folder / "model"),
            python_model=str(MODEL_CODE),
            artifacts=files,
            pip_requirements=requirements,
            input_example=EXAMPLE,
            mlflow_model=Model(model_id=model_id),
            **options,
        )
    return folder / "model"


def _name_size(saved: Path, more: int) -> None:
    """Bytes of the model as its page shows them, the weights among them."""
    from mlflow.models import Model

    model = Model.load(str(saved))
    model.model_size_bytes = int(model.model_size_bytes or 0) + more
    model.save(str(saved / "MLmodel"))


def _locked_requirements(root: Path) -> list[str]:
    """The locked dependencies; the package itself is the clone's, for no index has it."""
    import mlflow

    lock = root / "requirements.lock"
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.is_file() else []
    return [line for line in lines if "==" in line and not line.lstrip().startswith("#")] or [
        f"mlflow=={mlflow.__version__}"
    ]
