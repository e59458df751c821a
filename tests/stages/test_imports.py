"""A stage loads what it works with and nothing else: each start of a process is paid for."""

from __future__ import annotations

import subprocess
import sys

import pytest

TORCH = {"torch", "diffusers", "transformers", "peft", "accelerate", "safetensors"}
SCIENCE = {"pandas", "scipy", "sklearn", "matplotlib", "sympy"}
SERVICES = {"mlflow", "prefect", "dvc", "great_expectations", "boto3", "sqlalchemy", "dask"}
SMALL = TORCH | SCIENCE | SERVICES
SHARDS = SMALL - {"safetensors"}  # reads into NumPy
ABSENT = {
    "ingest": SMALL,
    "validate": TORCH | SERVICES | (SCIENCE - {"scipy"}),
    "bucket": SMALL,
    "tag_statistics": SMALL - {"transformers"},
    "encode": SHARDS,
    "encode_part": SHARDS,
    "latent_statistics": SHARDS,
    "decoder": SMALL,
    "train": SMALL,
    "base_model": SERVICES - {"boto3"} | {"pyarrow", "matplotlib"},
    "evaluate": SERVICES - {"boto3"} | {"matplotlib", "sklearn"},
}
TELL = "import sys; import nadir.stages.{}; print(*{{m.partition('.')[0] for m in sys.modules}})"


@pytest.mark.parametrize("stage", sorted(ABSENT))
def test_a_stage_imports_only_what_it_works_with(stage: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", TELL.format(stage)], check=True, capture_output=True, text=True
    )
    loaded = set(told.stdout.split())
    assert "nadir" in loaded
    assert not loaded & ABSENT[stage]
