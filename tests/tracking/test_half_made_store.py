"""A store whose making was cut off: it is made anew, not taken for a whole one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nadir.tracking.store.connection import connect, experiment_id

# Files may not grow beyond this, as on a disk that is full; tables need more.
MAKING = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from nadir.ground.errors import NadirError
from nadir.tracking.store.connection import connect
try:
    connect(patience_s=0)
except NadirError as error:
    print("refused", error)
"""


def test_a_store_that_could_not_be_made_whole_is_made_anew(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", MAKING], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("refused"), done.stderr
    folder = tmp_path / "work/mlflow"
    assert list(folder.glob("*.unfinished")), "it was at work when it ended"
    assert not (folder / "mlflow.db").exists()
    assert experiment_id(connect(tmp_path), tmp_path)
    assert not list(folder.glob("*.unfinished*"))
