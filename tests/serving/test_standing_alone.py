"""A version that holds its weights draws where there is no clone, no DVC and no `nadir`."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from tests.mini.project import MiniProject
from tests.support.bare_environment import BareEnvironment
from tests.support.real_weights import registered, with_real_weights
from tests.support.servers import free_port, mlflow_server, running

from nadir.tracking.store.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = [
    {"prompt": "1girl, red_hair", "seed": 3, "steps": 5},
    {"prompt": "black_background", "seed": 4, "steps": 4, "cfg_scale": 7.0},
]
DRAW = """
import json, sys
import mlflow
pictures = mlflow.pyfunc.load_model(sys.argv[1]).predict(json.loads(sys.argv[2]))
rooms = sorted(name for name in sys.modules if name.split(".")[0] in {"nadir", "dvc", "prefect"})
print(json.dumps({"pictures": pictures, "rooms": rooms}))
"""


@dataclass(frozen=True)
class Registered:
    """A project that has registered a copy, the store's address and the model as it is there."""

    project: MiniProject
    uri: str
    model: Path
    bare: BareEnvironment


@pytest.fixture(scope="module")
def copy(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Registered]:
    folder = tmp_path_factory.mktemp("alone")
    project = with_real_weights(folder, pytestconfig.rootpath / "params.yaml")
    with mlflow_server(folder) as uri, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        registered(project)
        client = connect(project.root)
        (found,) = client.search_model_versions("name = 'nadir'")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow.artifacts

        model = Path(mlflow.artifacts.download_artifacts(found.source, tracking_uri=uri))
        bare = BareEnvironment(folder / "machine", model / "requirements.txt")
        yield Registered(project, uri, model, bare)


@pytest.fixture(scope="module")
def of_the_clone(copy: Registered) -> list[str]:
    """What `nadir generate` draws in the clone, by its own command and weights."""
    pictures = []
    for number, asked in enumerate(ASKED):
        out = copy.project.root.parent / f"{number}.png"
        command = [sys.executable, "-c", "from nadir.cli import main; main()", "generate"]
        command += [asked["prompt"], "--model", "models/checkpoint", "--seed", str(asked["seed"])]
        command += ["--steps", str(asked["steps"]), "--cfg", str(asked.get("cfg_scale", 4.5))]
        command += ["--size", "64x64", "--output", str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=copy.project.root, env=environment, check=True)
        pictures.append(base64.b64encode(out.read_bytes()).decode())
    return pictures


def pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_it_is_loaded_elsewhere_with_the_address_alone_and_draws_the_clones_pictures(
    copy: Registered, of_the_clone: list[str]
) -> None:
    done = subprocess.run(
        [copy.bare.python, "-c", DRAW, "models:/nadir@champion", json.dumps(ASKED)],
        cwd=copy.bare.elsewhere,
        env=copy.bare.environment(copy.uri),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["rooms"] == []
    for drawn, expected in zip(told["pictures"], of_the_clone, strict=True):
        assert (pixels(drawn) == pixels(expected)).all()
    assert told["pictures"] == of_the_clone, "the files are equal too"


def test_it_is_served_elsewhere_over_http(copy: Registered, of_the_clone: list[str]) -> None:
    port = free_port()
    command = [copy.bare.python, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["-m", "models:/nadir@champion", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    address = f"http://127.0.0.1:{port}"
    log = copy.bare.elsewhere / "serve.log"
    environment = copy.bare.environment(copy.uri)
    with running(command, f"{address}/ping", log=log, environment=environment):
        request = urllib.request.Request(
            f"{address}/invocations",
            json.dumps({"inputs": ASKED}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            drawn = json.loads(answer.read())["predictions"]
    assert drawn == of_the_clone
