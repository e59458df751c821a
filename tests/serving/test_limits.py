"""Limits by environment and version, sizes by checkpoint, metrics at a port of their own."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import generate_latest

from nadir.data.buckets.geometry import assign
from nadir.data.buckets.lists import SDXL, bucket_list
from nadir.ground.errors import NadirError
from nadir.serving.draw_request import DrawRequest, RequestError, read_requests, size_of
from nadir.serving.limits import Limits, read_limits
from nadir.serving.metrics import Metrics, serve_metrics
from nadir.serving.plain_answers import _counted, require_in_time
from nadir.serving.sizes import Sizes, sizes_of

FINE = bucket_list(max_area_px=1024**2, step_px=64, min_side_px=512, max_side_px=2048)
COARSE = bucket_list(max_area_px=512**2, step_px=64, min_side_px=256, max_side_px=1024)


def asked(**keys):
    return DrawRequest(prompt="1girl", **keys)


def test_the_environment_counts_more_than_the_version_and_other_keys_are_others():
    version = {"most_steps": 40, "most_pictures": 3, "temperature": 0.5}
    limits = read_limits(version, {"NADIR_SERVE_MOST_STEPS": "50", "PATH": "/bin"})
    assert limits == Limits(most_steps=50, most_pictures=3)
    assert read_limits(None, {}) == Limits()


@pytest.mark.parametrize(
    ("version", "environment", "says"),
    [
        ({}, {"NADIR_SERVE_MOST_STEPS": "many"}, r"^NADIR_SERVE_MOST_STEPS: most_steps: input"),
        ({}, {"NADIR_SERVE_MOST_STEPS": "1"}, "greater than or equal to 2"),
        ({}, {"NADIR_SERVE_MOST_STEP": "9"}, r"NADIR_SERVE_MOST_STEP: (.|\n)*_MOST_STEPS, "),
        ({"most_pixels": -4}, {}, r"^the version's model_config: most_pixels: "),
    ],
)
def test_a_limit_that_is_none_is_refused_when_the_server_starts(version, environment, says):
    with pytest.raises(NadirError, match=says):
        read_limits(version, environment)


def test_limits_are_stated_where_they_are_passed():
    few = Limits(most_pictures=2, most_steps=9, most_characters=5)
    good = {"prompt": "1girl", "steps": 9}
    assert len(read_requests([good] * 2, few)) == 2
    for rows, says in [
        ([good] * 3, "1 to 2 requests may come at once, not 3"),
        ([good | {"steps": 10}], "request 1: steps: input should be less than or equal to 9"),
        ([good | {"prompt": "1girls"}], "prompt: string should have at most 5 characters"),
        ([good | {"negative_prompt": "1girls"}], "negative_prompt: string should have at most 5"),
    ]:
        with pytest.raises(RequestError, match=says):
            read_requests(rows, few)


def test_a_size_goes_to_the_bucket_that_an_image_of_it_would_go_to():
    rng = np.random.default_rng(0)
    widths, heights = rng.integers(200, 2500, (2, 500))
    sizes = Sizes(1024, SDXL, 10**9)
    found = [sizes.nearest(int(w), int(h)) for w, h in zip(widths, heights, strict=True)]
    assert found == [SDXL[index] for index in assign(widths, heights, SDXL)]


def test_of_several_resolutions_the_nearer_one_is_drawn():
    sizes = Sizes(1024, (*COARSE, *FINE), 10**9)
    assert sizes.nearest(520, 500) == (512, 512)
    assert sizes.nearest(416, 608) in COARSE
    assert all(sizes.nearest(*size) == size for size in sizes.buckets)


def test_a_checkpoint_says_which_sizes_there_are_and_sdxl_where_it_does_not():
    own = sizes_of({"buckets": [[832, 1216], [1024, 1024]]}, 1024, 16)
    assert own.buckets == ((832, 1216), (1024, 1024))
    assert sizes_of({}, 1024, 16).buckets == SDXL
    tiny = sizes_of({}, 64, 8)
    assert (64, 64) in tiny.buckets
    assert all(not side % 8 and w * h <= 64**2 for w, h in tiny.buckets for side in (w, h))


def test_no_size_is_the_models_own_and_one_side_alone_is_beside_it():
    sizes = sizes_of({}, 1024, 16)
    assert size_of(asked(), sizes) == (1024, 1024)
    assert size_of(asked(width=1536), sizes) == (1216, 832)
    assert size_of(asked(width=1000, height=1500), sizes) == (832, 1216)


def test_a_limit_of_pixels_leaves_out_the_sizes_beyond_it():
    sizes = sizes_of({"buckets": [[64, 64], [32, 32], [48, 24]]}, 64, 8, most_pixels=1100)
    assert sizes.buckets == ((32, 32),)
    assert size_of(asked(), sizes) == (32, 32)
    with pytest.raises(RequestError, match=r"1,100 pixels at most, and 64 x 64 has more"):
        size_of(asked(width=64), sizes)
    with pytest.raises(NadirError, match="draws no picture of 9 pixels"):
        sizes_of({}, 64, 8, most_pixels=9)


def test_metrics_are_read_by_http_and_a_taken_port_is_told():
    metrics = Metrics()
    with metrics.picture(4096):
        time.sleep(0)
    metrics.requests.labels("400").inc()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(NadirError, match=r"cannot be shown at 127(.|\n)*--workers 1"):
            free.listen()
            serve_metrics(metrics, place)
    serve_metrics(metrics, place)
    with urllib.request.urlopen(f"http://{place}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    assert "nadir_pixels_total 4096.0" in text
    assert 'nadir_requests_total{status="400"} 1.0' in text
    assert "nadir_picture_seconds_count 1.0" in text
    assert "process_resident_memory_bytes" in text


def call_of(work, *, most_waiting=16, longest_s="60", monkeypatch):
    """A call as MLflow's server makes one, of which `work` is all that happens, and its metrics."""
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", longest_s)
    metrics = Metrics()
    return _counted(work, Limits(most_waiting=most_waiting), metrics), metrics


def counted(metrics):
    """Calls by status."""
    (family,) = metrics.requests.collect()
    return {s.labels["status"]: s.value for s in family.samples if s.name.endswith("_total")}


def test_a_call_beyond_those_that_may_wait_is_sent_away(monkeypatch):
    leave, inside = threading.Event(), threading.Semaphore(0)

    def work():
        inside.release()
        assert leave.wait(60)
        return SimpleNamespace(status=200)

    call, metrics = call_of(work, most_waiting=1, monkeypatch=monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(call) for _ in range(2)]
        for _ in first:
            inside.acquire()
        with pytest.raises(RequestError, match="1 calls wait already") as caught:
            call()
        leave.set()
    assert caught.value.get_http_status_code() == 429
    assert [one.result().status for one in first] == [200, 200]
    assert counted(metrics) == {"200": 2, "429": 1}
    assert "nadir_requests_in_flight 0.0" in generate_latest(metrics.registry).decode()


def test_a_call_that_was_given_up_is_drawn_no_further(monkeypatch):
    def work():
        require_in_time()
        return SimpleNamespace(status=200)

    call, _ = call_of(work, monkeypatch=monkeypatch)
    assert call().status == 200
    late, metrics = call_of(work, longest_s="-1", monkeypatch=monkeypatch)
    with pytest.raises(RequestError, match="longer than it may take"):
        late()
    assert counted(metrics) == {"504": 1}


@pytest.mark.parametrize("place", ["here", "127.0.0.1", "0", "70000", "127.0.0.1:x"])
def test_a_place_of_metrics_that_is_no_port_is_told(place):
    with pytest.raises(NadirError, match="is not a port"):
        serve_metrics(Metrics(), place)
