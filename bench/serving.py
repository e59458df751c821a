"""Eight clients at once against MLflow's scoring server: memory over 500 requests, equal pictures.

The tiny model of params.yaml, untrained, as a registered version is served: in a process of its
own by `mlflow models serve`. Requests differ in prompt, negative prompt, seed, steps, guidance,
sampler and size; every tenth is asked again afterwards, alone, and must be the same picture.
Writes "The served model" of docs/performance.md.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from bench.performance import write
from bench.results import ROOT, table
from PIL import Image
from ruamel.yaml import YAML

from nadir.diffusion.names import SAMPLER_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS, REQUESTS, PIECE = 8, 500, 100
_START_S = 300
_SIZES = [(None, None), (64, 64), (48, 80), (96, 40), (32, 128)]


def requests() -> list[dict[str, Any]]:
    """Of which no two are equal."""
    rng = np.random.default_rng(0)
    found = []
    for turn in range(REQUESTS):
        width, height = _SIZES[turn % len(_SIZES)]
        found.append(
            {
                "prompt": f"1girl, red_hair, {'smile, ' * int(rng.integers(0, 40))}{turn}",
                "negative_prompt": ("", "hat")[turn % 2],
                "seed": turn,
                "steps": int(rng.integers(2, 9)),
                "cfg_scale": float(rng.integers(1, 8)),
                "sampler": SAMPLER_NAMES[turn % len(SAMPLER_NAMES)],
                "width": width,
                "height": height,
            }
        )
    return found


def make_version(folder: Path) -> tuple[Path, Path]:
    """A project with weights in DVC's cache, and an MLflow model that names them."""
    import mlflow.pyfunc

    from nadir.config.base_model import BaseModelParams
    from nadir.config.noise import NoiseParams
    from nadir.config.reader import read_section
    from nadir.ground.files import read_json
    from nadir.model.load import LatentScaling, save_checkpoint
    from nadir.model.sdxl.networks import load_unet
    from nadir.model.tiny.networks import make_tiny
    from nadir.serving import model_code

    project, base = folder / "project", folder / "base"
    project.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, project / name)
    tiny = read_section("base_model", BaseModelParams, ROOT / "params.yaml").tiny
    make_tiny(base, tiny.model_copy(update={"vae_steps": 1}))
    save_checkpoint(
        project / "weights",
        base=base,
        unet=load_unet(base),
        noise=read_section("noise", NoiseParams, ROOT / "params.yaml").model_dump(),
        scaling=LatentScaling.from_vae_config(read_json(base / "vae" / "config.json")),
        training={},
    )
    dvc = [sys.executable, "-m", "dvc"]
    for command in (["git", "init", "-q"], [*dvc, "init", "-q"], [*dvc, "add", "-q", "weights"]):
        subprocess.run(command, cwd=project, check=True)
    tracked = YAML(typ="safe").load(project / "weights.dvc")
    pointer = folder / "pointer.json"
    pointer.write_text(json.dumps({"path": "weights", "md5": tracked["outs"][0]["md5"]}))
    mlflow.pyfunc.save_model(
        str(folder / "model"),
        python_model=str(model_code.__file__),
        artifacts={"pointer": str(pointer)},
        pip_requirements=[f"mlflow=={mlflow.__version__}"],
    )
    return project, folder / "model"


def free_port() -> int:
    """A port of loopback where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def scoring_server(project: Path, model: Path) -> Iterator[tuple[str, str]]:
    """Addresses of MLflow's server and of its metrics."""
    port, metrics = free_port(), free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["-m", str(model), "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "NADIR_PROJECT": str(project), "NADIR_METRICS": str(metrics)}
    own |= {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "600", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (model.parent / "server.log").open("wb") as log:
        running = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=os.environ | own
        )
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + _START_S
    try:
        while running.poll() is None and time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{address}/ping", trust_env=False)
                break
            time.sleep(0.5)
        yield address, f"http://127.0.0.1:{metrics}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGTERM)
        running.wait(_START_S)


def draw(address: str, request: dict[str, Any]) -> tuple[float, bytes]:
    """Seconds from request to answer, and the picture's pixels."""
    body = {"inputs": [{key: value for key, value in request.items() if value is not None}]}
    start = time.perf_counter()
    answer = httpx.post(f"{address}/invocations", json=body, timeout=600, trust_env=False)
    seconds = time.perf_counter() - start
    (png,) = answer.raise_for_status().json()["predictions"]
    return seconds, Image.open(io.BytesIO(base64.b64decode(png))).tobytes()


def resident_mib(metrics: str) -> float:
    """Memory of the serving process."""
    lines = httpx.get(f"{metrics}/metrics", trust_env=False).text.splitlines()
    (line,) = (one for one in lines if one.startswith("process_resident_memory_bytes "))
    return float(line.split()[1]) / 2**20


def measure(address: str, metrics: str) -> str:
    """The section's body."""
    asked = requests()
    loaded = resident_mib(metrics)
    rows, drawn = [], []
    with ThreadPoolExecutor(CLIENTS) as pool:
        for first in range(0, REQUESTS, PIECE):
            start = time.perf_counter()
            piece = list(pool.map(lambda one: draw(address, one), asked[first : first + PIECE]))
            seconds = time.perf_counter() - start
            times = sorted(one for one, _ in piece)
            middle, late = statistics.median(times), times[int(0.95 * len(times))]
            memory = resident_mib(metrics)
            rows.append(
                [f"{first + PIECE}", f"{memory:,.1f}", f"{PIECE / seconds:.1f}"]
                + [f"{value:.2f}" for value in (middle, late)]
            )
            drawn += piece
    again = [
        draw(address, one)[1] == drawn[turn][1] for turn, one in enumerate(asked) if not turn % 10
    ]
    head = ["requests", "resident, MiB", "pictures/s", "median, s", "95 %, s"]
    return (
        f"`mlflow models serve --workers 1` of the tiny model, {CLIENTS} clients at once, "
        f"{REQUESTS} requests of one picture that differ in everything. {loaded:,.0f} MiB when the "
        "model is loaded; the first requests bring threads, their arenas and kept prompts. Times "
        "are of a client, waiting for the seven others included.\n\n"
        + table(head, rows)
        + f"\n\nAsked again afterwards, alone: {sum(again)} of {len(again)} pictures equal to the "
        "bit."
    )


def main() -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory(prefix="nadir-serving-") as folder:
        project, model = make_version(Path(folder))
        with scoring_server(project, model) as (address, metrics):
            body = measure(address, metrics)
    write("The served model", body)


if __name__ == "__main__":
    main()
