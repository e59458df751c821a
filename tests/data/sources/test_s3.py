"""S3: pages, large objects, changes, and errors that say what to do and give nothing away."""

from __future__ import annotations

import io
import json
import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import S3_SECRET as SECRET
from tests.data.sources.datasets import image, tar

from nadir.data.sources.detect import open_source, open_store
from nadir.data.sources.interfaces import FileChangedError
from nadir.data.sources.stores import s3 as s3_module
from nadir.data.sources.stores.s3 import S3Store
from nadir.data.sources.stores.s3_client import s3_client
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable


def put(s3: Any, bucket: str, **files: bytes) -> None:
    for key, data in files.items():
        s3.put_object(Bucket=bucket, Key=key, Body=data)


@pytest.fixture
def requests(s3: Any) -> list[str]:
    """Names of the requests the store's client makes, as they are sent."""
    seen: list[str] = []
    events = s3_client(None).meta.events
    events.register("before-call.s3", lambda model, **_: seen.append(model.name))
    return seen


def test_more_objects_than_a_page_holds_are_listed_in_pages(
    s3: Any, bucket: str, requests: list[str]
) -> None:
    for number in range(23):
        s3.put_object(Bucket=bucket, Key=f"p/{number:02}.png", Body=b"x")
    events = s3_client(None).meta.events
    small = {"MaxKeys": 10}
    events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_: params | small)
    table = open_source(f"s3://{bucket}/p/", "folder").list_images().table
    assert table.column("path").to_pylist() == [f"{number:02}.png" for number in range(23)]
    assert requests == ["ListObjectsV2"] * 3


def test_a_prefix_is_a_folder_and_hidden_names_are_left_alone(s3: Any, bucket: str) -> None:
    keys = ["p/a.png", "p/", "p/.b.png", "p/.hid/c.png", "p/__MACOSX/d.png", "pq/e.png", "f.png"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    listing = open_source(f"s3://{bucket}/p", "auto").list_images()
    assert listing.table.column("path").to_pylist() == ["a.png"]
    assert listing.notes == ("not listed: 3 hidden",)


def test_the_version_is_the_etag_and_moving_keeps_it(s3: Any, bucket: str) -> None:
    put(s3, bucket, **{"a/x.png": b"1", "b/x.png": b"1", "b/x.txt": b"1girl"})
    rows = [
        open_source(f"s3://{bucket}/{prefix}", "folder").list_images().table.to_pylist()[0]
        for prefix in "ab"
    ]
    etag = s3.head_object(Bucket=bucket, Key="a/x.png")["ETag"].strip('"')
    assert rows[0]["version"] == rows[1]["version"] == etag
    assert (rows[0]["tags_path"], rows[1]["tags_path"]) == (None, "x.txt")


def test_one_request_reads_a_small_object(s3: Any, bucket: str, requests: list[str]) -> None:
    put(s3, bucket, small=b"0123456789")
    store = open_store(f"s3://{bucket}")
    assert store.read("small", 100).data == b"0123456789"
    assert store.read("small", 4).data == b"0123"
    assert store.read_range("small", 3, 4).data == b"3456"
    assert requests == ["GetObject"] * 3


def test_a_large_object_comes_in_pieces_of_one_version(
    s3: Any, bucket: str, requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "LARGE_BYTES", 5 << 20)
    data = bytes(range(256)) * (12 << 12)
    put(s3, bucket, large=data)
    store = open_store(f"s3://{bucket}")
    content = store.read("large", 1 << 40)
    assert content.data == data
    assert content.version == store.stat("large")[1]
    assert requests.count("GetObject") >= 3
    assert store.read("large", 10 << 20).data == data[: 10 << 20]


def test_a_stream_seeks_and_refuses_to_mix_versions(s3: Any, bucket: str) -> None:
    data = bytes(range(256)) * 16384
    put(s3, bucket, x=data)
    store = open_store(f"s3://{bucket}")
    version = store.stat("x")[1]
    with store.open("x", version) as file:
        assert file.seek(-256, io.SEEK_END) == len(data) - 256
        assert file.read() == data[-256:]
        file.seek(1_500_000)
        assert file.read(10) == data[1_500_000:1_500_010]
        put(s3, bucket, x=data[::-1])
        file.seek(0)
        with pytest.raises(FileChangedError, match="changed since it was listed"):
            file.read(10)
    s3_module._seen.clear()
    with pytest.raises(FileChangedError, match="changed since it was listed"):
        store.open("x", version)


def test_members_of_a_tar_are_read_by_range(s3: Any, bucket: str, requests: list[str]) -> None:
    members = {f"{i}.png": image(i) for i in range(4)} | {"pad.bin": bytes(3 << 20)}
    put(s3, bucket, **{"x.tar": tar(members)})
    source = open_source(f"s3://{bucket}", "auto")
    source.list_images()
    listed = len(requests)
    assert source.read("x.tar::2.png", 1 << 20).data == image(2)
    assert requests[listed:] == ["GetObject"]


def test_a_tar_that_is_replaced_is_not_read_at_old_offsets(s3: Any, bucket: str) -> None:
    put(s3, bucket, **{"x.tar": tar({"a.png": image(0)})})
    source = open_source(f"s3://{bucket}", "auto")
    source.list_images()
    put(s3, bucket, **{"x.tar": tar({"b.png": image(1), "a.png": image(0)})})
    with pytest.raises(FileChangedError, match="changed since it was listed"):
        source.read("x.tar::a.png", 1 << 20)


def test_what_cannot_be_read_is_an_oserror(s3: Any, bucket: str) -> None:
    store = open_store(f"s3://{bucket}")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        store.read("missing", 10)
    with pytest.raises(FileNotFoundError):
        store.stat("missing")


@pytest.mark.parametrize("what", ["bucket", "prefix", "credentials", "server", "refused"])
def test_a_place_out_of_reach_is_one_clear_error(
    s3: Any,
    bucket: str,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    location, expected = f"s3://{bucket}/p", ("", "")
    if what == "bucket":
        location = "s3://no-such-bucket-here"
        expected = (r"s3://no-such-bucket-here: the bucket does not exist", "ingest.source")
    elif what == "prefix":
        expected = (r"no image files in s3://.*/p, read as folder", "s3:// prefix of them")
    elif what == "credentials":
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        expected = (r"there are no credentials for S3", "AWS_ACCESS_KEY_ID")
    elif what == "server":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        expected = (r"S3 cannot be reached \(EndpointConnectionError\)", "AWS_ENDPOINT_URL")
    else:
        refuse(s3_client(None), "SignatureDoesNotMatch")
        expected = (r"the credentials are refused \(SignatureDoesNotMatch\)", "AWS_SECRET_ACCESS")
    if what != "refused":
        s3_client.cache_clear()
    with pytest.raises(NadirError, match=expected[0]) as stop:
        open_source(location, "auto").list_images()
    assert expected[1] in stop.value.fix
    assert SECRET not in str(stop.value)
    assert stop.value.__cause__ is None
    own = [record for record in caplog.records if record.name.startswith("nadir")]
    assert not [record for record in own if SECRET in record.getMessage()]


def refuse(client: Any, code: str) -> None:
    """Let every request of a client fail with a code, quoting the secret as servers may."""
    from botocore.exceptions import ClientError

    def fail(model: Any, **_: Any) -> None:
        answer = {"Error": {"Code": code, "Message": f"you sent {SECRET}"}}
        raise ClientError(answer, model.name)

    client.meta.events.register("before-call.s3", fail)


@pytest.mark.parametrize(
    ("code", "kind", "match"),
    [
        ("AccessDenied", PermissionError, r"does not allow reading it \(AccessDenied\)"),
        ("SlowDown", OSError, r"S3 refuses to give it \(SlowDown\)"),
        ("ExpiredToken", NadirError, r"the credentials are refused \(ExpiredToken\)"),
    ],
)
def test_a_refusal_of_one_object_is_told_from_one_of_all(
    s3: Any, bucket: str, code: str, kind: type[Exception], match: str
) -> None:
    put(s3, bucket, a=b"x")
    refuse(s3_client(None), code)
    with pytest.raises(kind, match=match) as caught:
        open_store(f"s3://{bucket}").read("a", 10)
    assert SECRET not in f"{caught.value!r}{caught.value}"


def test_listing_that_is_not_allowed_is_told(s3: Any, bucket: str) -> None:
    refuse(s3_client(None), "AccessDenied")
    with pytest.raises(
        NadirError, match=r"listing it is not allowed \(AccessDenied\)\n  fix: give"
    ):
        open_source(f"s3://{bucket}", "auto").list_images()


def test_a_connection_that_breaks_is_tried_again(
    s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import IncompleteReadError
    from botocore.response import StreamingBody

    put(s3, bucket, a=b"0123456789")
    real: Callable[..., bytes] = StreamingBody.read
    failures = iter([True, True, False])

    def read(self: Any, amt: int | None = None) -> bytes:
        if next(failures):
            raise IncompleteReadError(actual_bytes=3, expected_bytes=10)
        return real(self, amt)

    monkeypatch.setattr(StreamingBody, "read", read)
    assert open_store(f"s3://{bucket}").read("a", 100).data == b"0123456789"


def test_no_secret_is_in_a_pickle_or_a_repr(s3: Any, bucket: str, s3_server: str) -> None:
    put(s3, bucket, **{"a.png": image(0)})
    source = open_source(f"s3://{bucket}", "folder", endpoint_url=s3_server)
    source.list_images()
    held = pickle.dumps(source) + repr(source).encode() + json.dumps(source.location).encode()
    for word in (SECRET, "AKIDEXAMPLE"):
        assert word.encode() not in held
    assert pickle.loads(held).read("a.png", 1 << 20).data == image(0)


def test_an_address_with_credentials_in_it_is_refused_unquoted() -> None:
    with pytest.raises(NadirError, match="the address holds a user name or password") as stop:
        open_source("s3://bucket", "auto", endpoint_url=f"http://me:{SECRET}@127.0.0.1")
    assert SECRET not in str(stop.value)
    with pytest.raises(NadirError, match="names no bucket"):
        open_source("s3:///x", "auto")


def test_a_stated_endpoint_goes_before_the_environments(
    s3: Any, bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, bucket, **{"a.png": b"x"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3_client.cache_clear()
    listing = open_source(f"s3://{bucket}", "auto", endpoint_url=s3_server).list_images()
    assert listing.table.num_rows == 1


@pytest.mark.parametrize(
    ("environment", "mode", "attempts"),
    [
        ({}, "standard", 5),
        ({"AWS_RETRY_MODE": "adaptive", "AWS_MAX_ATTEMPTS": "7"}, "adaptive", 7),
    ],
)
def test_retries_are_boto3s_own_and_settable(
    s3: Any, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], mode: str, attempts: int
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3_client.cache_clear()
    retries = s3_client(None).meta.config.retries
    assert (retries["mode"], retries["total_max_attempts"]) == (mode, attempts)


def test_stores_of_two_servers_are_two(s3_server: str) -> None:
    assert S3Store("b", "p/") != S3Store("b", "p/", s3_server)
    assert S3Store("b", "p/").location == "s3://b/p"
