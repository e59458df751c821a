"""The S3 server of docker-compose.yml, started by its own command: SeaweedFS, from its wheel."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tests.conftest import S3_SECRET
from tests.mini.project import MiniProject, trained
from tests.support.servers import free_port

from nadir.pipeline.opening import open_session
from nadir.pipeline.storage.computed_elsewhere import send_all
from nadir.tracking.lock_file import load_yaml, output_hashes, read_lock

__all__ = ["trained"]
KEY = "AKIDEXAMPLE"
# Stands for the container's address that others reach; the loopback range is one machine.
OPEN = "127.0.0.2"
_WITHIN_S = 60


class Server:
    """The running server: its process and the port that S3 has."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def client(self, secret: str = S3_SECRET) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://{OPEN}:{self.port}",
            aws_access_key_id=KEY,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=30),
        )

    def addresses(self) -> set[tuple[str, int]]:
        """Where it listens."""
        found = psutil.Process(self.process.pid).net_connections("tcp")
        return {(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN}


def command(root: Path, data: Path) -> tuple[list[str], int]:
    """The compose file's, with ports that are free here and a folder of the test's."""
    service = load_yaml(root / "docker-compose.yml")["services"]["s3"]
    words = shlex.split(service["command"])
    assert "-s3.port=8333" in words
    words = [w.replace("0.0.0.0", OPEN).replace("-dir=/data", f"-dir={data}") for w in words]
    words = [w for w in words if w != "-s3.port=8333"]
    port = free_port()
    names = ["s3.port.grpc", "master.port", "master.port.grpc", "volume.port"]
    names += ["volume.port.grpc", "filer.port", "filer.port.grpc"]
    words += [f"-s3.port={port}", *(f"-{name}={free_port()}" for name in names)]
    return [str(Path(sys.executable).with_name("weed")), *words], port


def wait_for(server: Server) -> None:
    end = time.monotonic() + _WITHIN_S
    while not answers(server):
        assert server.process.poll() is None
        assert time.monotonic() < end, "the server did not answer"
        time.sleep(0.3)


def answers(server: Server) -> bool:
    try:
        server.client().list_buckets()
    except (BotoCoreError, ClientError):
        return False
    return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("seaweedfs")
    (folder / "data").mkdir()
    line, port = command(Path(__file__).parents[2], folder / "data")
    variables = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            line, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=os.environ | variables
        )
    try:
        found = Server(process, port)
        wait_for(found)
        found.client().create_bucket(Bucket="nadir")
        yield found
    finally:
        process.terminate()
        process.wait(30)


def test_what_is_put_is_got_whole_also_in_parts(server: Server, tmp_path: Path) -> None:
    """Checksums as boto3 makes them by itself; 20 MB go in three parts."""
    content = os.urandom(20 << 20)
    (tmp_path / "weights").write_bytes(content)
    api = server.client()
    api.upload_file(str(tmp_path / "weights"), "nadir", "model/weights")
    got = api.get_object(Bucket="nadir", Key="model/weights")["Body"].read()
    assert hashlib.sha256(got).digest() == hashlib.sha256(content).digest()


def test_bytes_that_changed_on_the_way_are_refused(server: Server) -> None:
    api = server.client()
    with pytest.raises(ClientError) as found:
        api.put_object(Bucket="nadir", Key="bent", Body=b"two", ChecksumCRC32="AAAAAA==")
    assert found.value.response["Error"]["Code"] == "BadDigest"
    assert "Contents" not in api.list_objects_v2(Bucket="nadir", Prefix="bent")


def test_nobody_reads_without_the_keys(server: Server) -> None:
    with pytest.raises(ClientError) as found:
        server.client(S3_SECRET[::-1]).list_buckets()
    assert found.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_others_reach_s3_and_nothing_else(server: Server) -> None:
    """The filer, whose port asks for no key, listens inside the container only."""
    assert "-master.telemetry=false" in server.process.args
    others = {port for address, port in server.addresses() if address != "127.0.0.1"}
    assert server.port in others
    grpc = {int(w.partition("=")[2]) for w in server.process.args if "s3.port.grpc" in str(w)}
    assert others <= {server.port, *grpc}


def test_a_second_worker_takes_over_what_a_first_one_computed(
    server: Server, trained: MiniProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`register.share: everything` with this store as DVC's remote; a lost object is made anew."""
    monkeypatch.setenv("NADIR_TRACKING", "none")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    trained.dvc("remote", "add", "-q", "-d", "shared", "s3://nadir/dvc")
    address = f"http://{OPEN}:{server.port}"
    trained.dvc("remote", "modify", "-q", "shared", "endpointurl", address)
    trained.set("  share: versions ", "  share: everything ")
    trained.git("commit", "-q", "-am", "Share what is computed")
    trained.git("clone", "-q", str(trained.root), str(tmp_path / "second"))
    second, told = MiniProject(tmp_path / "second"), list[str]()
    assert send_all(trained.root, told.append), told
    hashes = output_hashes(read_lock(trained.root))
    lost = hashes["models/base"]
    server.client().delete_object(Bucket="nadir", Key=f"dvc/files/md5/{lost[:2]}/{lost[2:]}")
    with open_session(second.root, until="evaluate", flow_run_id="b", name="b") as session:
        found = {stage: session.run(stage).state for stage in session.stages}
    assert found.pop("ingest") == found.pop("base_model") == "executed"
    assert set(found.values()) == {"restored"}
    assert output_hashes(read_lock(second.root)) == hashes
