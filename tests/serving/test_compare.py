"""`nadir compare`: the command, its server, and its page in a real browser."""

from __future__ import annotations

import io
import json
import re
import threading
from urllib.parse import urlsplit

import pytest
from PIL import Image
from tests.mini.project import MiniProject, project  # noqa: F401 - a fixture
from tests.mini.weights import add_version, cached_weights
from tests.support.asking import FORM, ask

from nadir.cli.model.compare import _chosen, _named, _told_apart
from nadir.ground.errors import NadirError
from nadir.ground.pages.pictures import KEY
from nadir.serving.compare.asked import read_form
from nadir.serving.compare.drawing_queue import DrawingQueue
from nadir.serving.compare.pair import Named
from nadir.serving.compare.server import listen
from nadir.serving.draw_request import RequestError
from nadir.serving.limits import Limits
from nadir.tracking.store.connection import connect


def test_both_models_draw_the_same_request_and_equal_requests_are_equal(page_address):
    drawn = [ask(page_address, FORM | {"side": side}) for side in (0, 1, 0)]
    assert [status for status, *_ in drawn] == [200] * 3
    pictures = [Image.open(io.BytesIO(body)) for *_, body in drawn]
    facts = [json.loads(picture.text[KEY]) for picture in pictures]
    assert facts[0] == facts[1]
    assert facts[0]["prompt"] == "1girl"
    assert drawn[0][2] == drawn[2][2] != drawn[1][2]


def test_a_size_goes_to_the_nearest_bucket_and_the_answer_says_which(page_address):
    status, headers, body = ask(page_address, FORM | {"size": "90 x 60", "side": 1})
    assert (status, headers["x-drawn-size"]) == (200, "80x48")
    assert Image.open(io.BytesIO(body)).size == (80, 48)


OWN = re.compile(r"answers as 127.0.0.1 and localhost only|requests of other pages are refused")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "nadir.example"},
        {"host": "nadir.example:{port}"},
        {"host": "127.0.0.1:1"},
        {"host": ""},
        {"origin": "http://nadir.example"},
        {"origin": "https://127.0.0.1:{port}"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
    ids=str,
)
def test_another_host_or_origin_is_refused(page_address, headers):
    port = str(urlsplit(page_address).port)
    sent = {name: value.replace("{port}", port) for name, value in headers.items()}
    status, _, body = ask(page_address, FORM | {"side": 0}, **sent)
    assert status == 403
    assert OWN.search(body.decode())


def test_the_page_itself_is_let_through_and_may_load_nothing_else(page_address):
    port = urlsplit(page_address).port
    own = {"origin": f"http://localhost:{port}", "sec_fetch_site": "same-origin"}
    assert ask(page_address, FORM | {"side": 0}, host=f"localhost:{port}", **own)[0] == 200
    status, headers, body = ask(page_address, None, "GET", "/", sec_fetch_site="cross-site")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert b"two/model" in body


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"\xff", {}, 400),
        ([FORM], {}, 400),
        (FORM, {}, 400),
        (FORM | {"side": 2}, {}, 400),
        (FORM | {"side": 0}, {"content_type": "text/plain"}, 415),
        (b" " * ((1 << 18) + 1), {}, 413),
    ],
)
def test_a_body_that_is_not_the_pages_is_answered_in_words(page_address, body, headers, status):
    found, _, text = ask(page_address, body, **headers)
    assert found == status
    assert set(json.loads(text)) == {"message", "field"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cfg_scale": "high"}, "CFG scale must be a number from 1 to 30."),
        ({"cfg_scale": "nan"}, "CFG scale must be a number from 1 to 30."),
        ({"cfg_scale": "1e9"}, "CFG scale must be a number from 1 to 30."),
        ({"cfg_scale": "0.5"}, "CFG scale must be a number from 1 to 30."),
        ({"steps": "2.5"}, "Steps must be a whole number from 2 to 150."),
        ({"steps": ""}, "Steps must be a whole number from 2 to 150."),
        ({"steps": "٣"}, "Steps must be a whole number from 2 to 150."),
        ({"steps": 9}, "This must be a text."),
        ({"seed": "-1"}, "Seed must be a whole number from 0 to 9223372036854775807."),
        ({"seed": "9" * 19}, "Seed must be a whole number from 0 to 9223372036854775807."),
        ({"size": "large"}, "Write width x height, such as 832x1216."),
        ({"sampler": "dpm"}, "Input should be euler, euler_ancestral"),
        ({"prompt": "x" * 10_001}, "String should have at most 10000 characters."),
        ({"negative_prompt": "\ud800"}, "Input should be a valid string"),
    ],
    ids=str,
)
def test_what_a_field_cannot_mean_is_one_sentence_that_names_it(change, says):
    with pytest.raises(RequestError) as caught:
        read_form(FORM | change, Limits())
    assert caught.value.field == next(iter(change))
    assert caught.value.message.startswith(says)


def test_a_size_beyond_the_limit_names_its_field(page_address):
    for size, says in (("9999x64", "Width must be 1 to 256"), ("256x256", "16,384 pixels")):
        status, _, body = ask(page_address, FORM | {"size": size, "side": 0})
        answer = json.loads(body)
        assert (status, answer["field"]) == (400, "size")
        assert says in answer["message"]


def test_drawings_are_made_in_order_and_too_many_are_sent_away():
    leave, order = threading.Event(), []
    drawings = DrawingQueue(most_waiting=2)

    def work(name):
        assert leave.wait(60)
        order.append(name)
        return name

    waiting = [drawings.put(lambda name=name: work(name)) for name in (b"a", b"b", b"c", b"d")]
    assert waiting[3] is None
    assert waiting[1].cancel()  # who asked has gone
    leave.set()
    assert [waiting[0].result(60), waiting[2].result(60)] == [b"a", b"c"]
    assert order == [b"a", b"c"]
    assert drawings.put(lambda: b"e").result(60) == b"e"


def test_a_drawing_that_fails_is_told_and_the_next_one_drawn():
    drawings = DrawingQueue(most_waiting=1)
    with pytest.raises(ZeroDivisionError):
        drawings.put(lambda: 1 / 0).result(60)
    assert drawings.put(lambda: b"x").result(60) == b"x"


def test_a_port_that_is_taken_is_one_error():
    with (
        listen(0) as first,
        pytest.raises(NadirError, match=r"--port: port \d+ cannot be(.|\n)*0 for any"),
    ):
        listen(first.getsockname()[1])
    with pytest.raises(NadirError, match="port 70000 cannot be listened at"):
        listen(70_000)


def test_which_models_are_compared_and_what_they_are_called(project: MiniProject, models):  # noqa: F811
    client = connect(project.root)
    for text in ("first", "second"):
        add_version(client, project.root, weights=cached_weights(project.root, text))
    client.set_registered_model_alias("nadir", "champion", "1")
    assert _chosen(None, None) == ("champion", "challenger")
    assert _chosen("3", None) == ("champion", "3")
    assert _chosen("3", "4") == ("3", "4")
    named = [_named(text) for text in ("champion", "2", "models:/nadir@challenger")]
    assert [one.label for one in named] == [
        "champion (version 1)",
        "version 2",
        "challenger (version 2)",
    ]
    assert [(one.path / "nadir.json").read_text() for one in named] == ["first", "second", "second"]
    for wrong, says in (("nightly", "has no `models:/nadir@nightly`"), ("a/b", "no such model")):
        with pytest.raises(NadirError, match=says):
            _named(wrong)
    one, two = (Named("model", models / name / "model") for name in ("one", "two"))
    assert [named.label for named in _told_apart(one, two)] == ["one/model", "two/model"]
    assert _told_apart(one, one) == (one, one)
