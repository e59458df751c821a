"""A served model: requests that are independent of each other, and one that cannot be drawn."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.mini.project import make_project
from tests.support.small_checkpoint import write_base, write_checkpoint

from nadir.diffusion.names import SAMPLER_NAMES
from nadir.ground.exposition import METRICS_VARIABLE
from nadir.ground.pages.pictures import KEY
from nadir.serving.draw_request import DrawRequest, RequestError, read_requests
from nadir.serving.limits import Limits
from nadir.serving.weights import PROJECT_VARIABLE
from nadir.tracking.version_files.model_folder import save_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_GROWTH_BYTES = 16 << 20
MOST = Limits().most_pictures
MIXED = [
    {"prompt": prompt, "seed": seed, "steps": steps, "cfg_scale": cfg, "width": width}
    for seed, (prompt, steps, cfg, width) in enumerate(
        [
            ("1girl, red_hair", 5, 4.5, None),
            ("1boy", 9, 1.0, 32),
            ("black_background", 2, 7.0, 96),
            ("", 6, 4.5, 64),
        ]
        * 2
    )
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Path]:
    """An MLflow model whose weights lie in the DVC cache of a project."""
    folder = tmp_path_factory.mktemp("served")
    params = pytestconfig.rootpath / "params.yaml"
    project = make_project(folder / "project")
    write_base(folder / "base", params)
    write_checkpoint(project.root / "weights", folder / "base", params)
    project.dvc("add", "-q", "weights")
    tracked = yaml.safe_load((project.root / "weights.dvc").read_text(encoding="utf-8"))
    before = os.environ.get(PROJECT_VARIABLE)
    os.environ[PROJECT_VARIABLE] = str(project.root)
    yield save_pointer(folder, "m-" + "0" * 32, tracked["outs"][0]["md5"], project.root)
    del os.environ[PROJECT_VARIABLE]
    if before is not None:
        os.environ[PROJECT_VARIABLE] = before


@pytest.fixture(scope="module")
def model(saved: Path) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(saved))


@pytest.fixture(scope="module")
def in_a_row(model: Any) -> list[str]:
    return [picture for request in MIXED for picture in model.predict([request])]


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(saved: Path, metrics_port: int) -> Iterator[str]:
    """Address of MLflow's own scoring server."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["-m", str(saved), "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    log = saved.parent / "server.log"
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=os.environ
            | {"PATH": programs, METRICS_VARIABLE: str(metrics_port), "NADIR_LOG": "json"}
            # What MLflow says before it starts the server.
            | {"MLFLOW_LOGGING_LEVEL": "ERROR", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"},
        )
    try:
        _await(address, process, log)
        yield address
        assert process.poll() is None, "a request has ended the server"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(300)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/ping", timeout=5):
            return
        time.sleep(0.3)
    pytest.fail(log.read_text(encoding="utf-8", errors="replace")[-3000:])


def post(address: str, body: Any, kind: str = "application/json") -> tuple[int, str]:
    """Status and text of what the server answers."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{address}/invocations", data, {"Content-Type": kind}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def opened(text: str) -> Any:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def drawn(answer: tuple[int, str]) -> list[str]:
    status, text = answer
    assert status == 200, text
    return json.loads(text)["predictions"]


@pytest.mark.parametrize("threads", [2, 4, 8])
def test_pictures_drawn_at_the_same_time_are_those_drawn_in_a_row(
    model: Any, in_a_row: list[str], threads: int
) -> None:
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda request: model.predict([request])[0], MIXED))
    assert found == in_a_row


def test_pictures_of_one_request_are_those_of_many(model: Any, in_a_row: list[str]) -> None:
    assert model.predict(MIXED) == in_a_row
    assert model.predict([DrawRequest(**MIXED[0])]) == in_a_row[:1]
    table = pd.DataFrame([MIXED[0], MIXED[1]]).astype({"width": "Int64"})
    assert model.predict(table) == in_a_row[:2]


def test_a_picture_is_of_the_size_that_was_asked_for_and_differs_by_prompt(
    in_a_row: list[str],
) -> None:
    sizes = [opened(text).size for text in in_a_row[:4]]
    assert sizes == [(64, 64), (40, 88), (80, 48), (64, 64)]
    assert len(set(in_a_row)) == len(in_a_row)


def test_a_picture_says_which_size_was_asked_for_where_another_was_drawn(in_a_row: list[str]):
    facts = [json.loads(opened(text).text[KEY]) for text in in_a_row[1:4]]
    assert [one.get("asked_size") for one in facts] == [[32, 64], [96, 64], None]
    assert [one.get("drawn_size") for one in facts] == [[40, 88], [80, 48], None]


def test_negative_prompt_and_sampler_change_the_picture_and_are_written_into_it(model: Any) -> None:
    asked = {"prompt": "1girl", "steps": 4, "seed": 3}
    others = [{}, {"negative_prompt": "red_hair"}, *({"sampler": name} for name in SAMPLER_NAMES)]
    drawn_by = model.predict([asked | other for other in others])
    kinds = ["as asked", "negative", *SAMPLER_NAMES]
    facts = [json.loads(opened(text).text[KEY]) for text in drawn_by]
    assert facts[1]["negative_prompt"] == "red_hair"
    assert "negative_prompt" not in facts[0]
    assert [one["sampler"] for one in facts[2:]] == list(SAMPLER_NAMES)
    by_kind = dict(zip(kinds, [np.asarray(opened(text), int) for text in drawn_by], strict=True))
    assert np.array_equal(by_kind.pop("euler"), by_kind["as asked"])  # unless another is asked for
    assert np.abs(by_kind.pop("ddim") - by_kind["as asked"]).max() <= 1  # Euler's but for rounding
    assert len({picture.tobytes() for picture in by_kind.values()}) == len(by_kind)
    unguided = model.predict([asked | {"cfg_scale": 1} | other for other in others[:2]])
    assert opened(unguided[0]).tobytes() == opened(unguided[1]).tobytes()


def test_mlflows_server_draws_parallel_requests_as_it_draws_them_in_a_row(
    server: str, in_a_row: list[str]
) -> None:
    alone = [drawn(post(server, {"inputs": [request]}))[0] for request in MIXED[:4]]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda request: post(server, {"inputs": [request]}), MIXED))
    together = [drawn(answer)[0] for answer in answers]
    assert together[:4] == alone
    # Another process may round otherwise, but not by more.
    for one, other in zip(together, in_a_row, strict=True):
        pair = [np.asarray(opened(text), int) for text in (one, other)]
        assert np.abs(pair[0] - pair[1]).max() <= 1


def measured(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def test_each_line_of_the_servers_log_is_an_object(server: str, saved: Path) -> None:
    assert post(server, {"inputs": [{"prompt": "1girl", "steps": 2}]})[0] == 200
    lines = (saved.parent / "server.log").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines if line]
    assert len({line["run"] for line in told}) == 1
    calls = [line["message"] for line in told if line.get("logger") == "uvicorn.access"]
    assert any("POST /invocations" in call and call.endswith("200") for call in calls)


def test_the_server_counts_calls_pictures_and_pixels(server: str, metrics_port: int) -> None:
    before = measured(metrics_port)
    drawn(post(server, {"inputs": [GOOD, GOOD | {"width": 128, "height": 32}]}))
    assert post(server, {"inputs": []})[0] == 400
    after = measured(metrics_port)

    def gain(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert gain('nadir_requests_total{status="200"}') == 1
    assert gain('nadir_requests_total{status="400"}') == 1
    assert gain("nadir_request_seconds_count") == 2
    assert gain("nadir_picture_seconds_count") == 2
    assert gain("nadir_pixels_total") == 64 * 64 + 128 * 32
    assert after["nadir_requests_in_flight"] == after["nadir_pictures_waiting"] == 0


def test_memory_does_not_grow_with_requests(server: str, metrics_port: int) -> None:
    """A short form of `bench.serving`: equal pictures, and no more memory at the end."""
    requests = [GOOD | {"seed": turn % 4} for turn in range(16)]

    def ask_all() -> tuple[float, list[str]]:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda one: post(server, {"inputs": [one]}), requests))
        return measured(metrics_port)["process_resident_memory_bytes"], [
            drawn(answer)[0] for answer in answers
        ]

    ask_all()  # threads, arenas and caches come into being
    before, first = ask_all()
    after, second = ask_all()
    assert first == second
    assert len(set(first)) == 4
    assert after - before < MOST_GROWTH_BYTES


GOOD = {"prompt": "1girl", "steps": 2}
BAD: list[tuple[Any, str]] = [
    ([GOOD | {"width": 100_000, "height": 100_000}], "width must be 1 to 256 pixels, not 100000"),
    ([GOOD | {"height": 0}], "height must be 1 to 256 pixels, not 0"),
    ([GOOD | {"height": -64}], "height must be 1 to 256 pixels, not -64"),
    ([GOOD | {"width": 256, "height": 256}], "16,384 pixels at most, and 256 x 256 has more"),
    ([GOOD | {"sampler": "dpm++"}], "request 1: sampler: input should be euler, euler_ancestral,"),
    ([GOOD | {"sampler": None}], "request 1: sampler: input should be a valid string"),
    ([GOOD | {"negative_prompt": 3}], "request 1: negative_prompt: input should be a valid string"),
    ([GOOD | {"negative_prompt": "x" * 10_001}], "request 1: negative_prompt: string should have"),
    ([GOOD | {"width": 10**30}], "width"),
    ([GOOD | {"steps": 0}], "request 1: steps: input should be greater than or equal to 2"),
    ([GOOD | {"steps": 100_000}], "request 1: steps: input should be less than or equal to 150"),
    ([GOOD | {"steps": "many"}], "request 1: steps: input should be a valid integer"),
    ([GOOD, GOOD | {"cfg_scale": -5}], "request 2: cfg_scale: input should be greater than"),
    ([GOOD | {"cfg_scale": 1e300}], "request 1: cfg_scale: input should be less than"),
    ([GOOD | {"seed": -1}], "request 1: seed: input should be greater than"),
    ([GOOD | {"seed": 1 << 63}], "request 1: seed: input should be less than"),
    (
        [GOOD | {"step": 9}],
        "request 1: 'step' is not a key of a request; there are prompt, negative_prompt",
    ),
    ([{"steps": 9}], "request 1: prompt: field required"),
    ([GOOD | {"prompt": "x" * 10_001}], "request 1: prompt: string should have at most 10000"),
    ([GOOD | {"prompt": None}], "request 1: prompt: input should be a valid string"),
    ([GOOD | {"prompt": "\ud800"}], "request 1: prompt: input should be a valid string, unable to"),
    (["1girl"], "request 1 must be an object, not str"),
    (GOOD, "the requests must be a list, not dict"),
    (None, "the requests must be a list, not NoneType"),
    ([], f"1 to {MOST} requests may come at once, not 0"),
    ([GOOD] * 1000, f"1 to {MOST} requests may come at once, not 1,000"),
]


@pytest.mark.parametrize(("inputs", "says"), BAD, ids=[says for _, says in BAD])
def test_what_cannot_be_drawn_is_answered_with_400_and_one_sentence(
    server: str, inputs: Any, says: str
) -> None:
    status, text = post(server, {"inputs": inputs})
    assert status == 400
    answer = json.loads(text)
    assert set(answer) == {"error_code", "message"}
    assert says in answer["message"]
    assert "\n" not in answer["message"]
    assert len(answer["message"]) < 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b'{"inputs": [{"prompt": "x", "cfg_scale": NaN}]}', "application/json"),
        (b"[]", "application/json"),
        ({"instances": [GOOD]}, "application/json"),
        ({"dataframe_records": [GOOD]}, "application/json"),
        ({"inputs": [GOOD], "params": {"steps": 9}}, "application/json"),
        (b"[" * 100_000, "application/json"),
        ({"inputs": [GOOD], "instances": [GOOD]}, "application/json"),
        (b"prompt\n1girl\n", "text/csv"),
        (b"prompt\n1girl\n", "text/csv; charset=latin-1"),
        (b"PAR1", "application/vnd.apache.parquet"),
        (b"x", "text/plain"),
        (b"", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'{"inputs": "' + b"x" * (1 << 20) + b'"}', "application/json"),
    ],
)
def test_what_is_no_request_at_all_never_shows_a_trace_or_ends_the_server(
    server: str, body: Any, kind: str
) -> None:
    status, text = post(server, body, kind)
    assert status in (400, 415)
    assert "trace" not in text.lower()
    message = json.loads(text)["message"] if status == 400 else text
    assert "\n" not in message
    assert len(message) < 300


NUMBERS = ("seed", "cfg_scale", "steps", "width", "height")


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [True, False, "64", " 4 ", "4.0", "", [64], {}, float("inf")])
def test_what_stands_for_a_number_but_is_none_is_refused(field: str, value: object) -> None:
    for given in ([GOOD | {field: value}], pd.DataFrame({"prompt": ["x"], field: [value]})):
        with pytest.raises(RequestError, match=rf"^request 1: {field}: input should be a "):
            read_requests(given)


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_number_beyond_all_bounds_is_not_quoted(field: str, value: int) -> None:
    with pytest.raises(RequestError, match=f"^request 1: {field}: ") as caught:
        read_requests([GOOD | {field: value}])
    assert len(caught.value.message) < 100


def test_missing_cells_of_a_table_are_keys_that_were_not_given() -> None:
    table = pd.DataFrame([GOOD, GOOD | {"width": 64, "seed": 2**62 + 1}])
    assert [request.width for request in read_requests(table)] == [None, 64]
    whole = pd.DataFrame({"prompt": ["x"], "seed": [2**62 + 1], "cfg_scale": [4.123456789012]})
    (request,) = read_requests(whole)
    assert (request.seed, request.cfg_scale) == (2**62 + 1, 4.123456789012)


def test_a_table_with_two_columns_of_one_name_is_refused() -> None:
    with pytest.raises(RequestError, match="two columns of one name"):
        read_requests(pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"]))


def test_the_signature_names_what_may_be_asked_for(saved: Path) -> None:
    text = (saved / "MLmodel").read_text(encoding="utf-8")
    assert all(name in text for name in DrawRequest.model_fields)


def test_a_fault_of_the_server_is_told_without_its_trace(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    implementation = model.unwrap_python_model()
    monkeypatch.setattr(implementation._drawer, "_encodings", None)
    with pytest.raises(RequestError, match="could not be drawn") as caught:
        model.predict([GOOD])
    assert caught.value.get_http_status_code() == 500


def test_versions_registered_before_the_room_moved_find_their_code() -> None:
    from nadir.serving.served_model import NadirModel
    from nadir.tracking import served_model

    assert served_model.NadirModel is NadirModel
