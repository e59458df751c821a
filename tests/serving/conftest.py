"""`nadir compare` as a user starts it, over two small checkpoints."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from safetensors.torch import load_file, save_file
from tests.support.asking import FORM, ask
from tests.support.small_checkpoint import write_base, write_checkpoint


@pytest.fixture(scope="package")
def models(tmp_path_factory, pytestconfig):
    """Two checkpoints, of which one draws otherwise."""
    params, folder = pytestconfig.rootpath / "params.yaml", tmp_path_factory.mktemp("models")
    write_base(folder / "base", params)
    write_checkpoint(folder / "one/model", folder / "base", params)
    shutil.copytree(folder / "one", folder / "two")
    (weights,) = (folder / "two/model/unet").glob("*.safetensors")
    tensors = {name: -tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="package")
def page_address(models):
    """Where the page is; Ctrl-C closes it while it draws."""
    program = [sys.executable, "-c", "from nadir.cli import main; main()"]
    command = [*program, "compare", "one/model", "two/model", "--port", "0"]
    log = models / "compare.log"
    with log.open("w") as errors:
        running = subprocess.Popen(
            command, cwd=models, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    lines = iter(running.stdout.readline, "")
    address = next((line.strip() for line in lines if line.startswith("http://")), None)
    assert address, log.read_text()
    yield address
    body = FORM | {"steps": "150", "size": "128x32", "side": 0}
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, address, body)
        ask(address, None, "GET", "/")
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert asking.result(60)[0] in (200, 503)
    running.stdout.close()
    assert log.read_text() == ""
