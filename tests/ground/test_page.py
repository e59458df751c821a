"""Pages are self-contained, escape what users write, and charts tell the truth."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from nadir.ground.axes import ticks
from nadir.ground.charts import (
    Level,
    Series,
    bar_chart,
    histogram,
    line_chart,
    scatter_chart,
)
from nadir.ground.page import number, render_page, sentence, thumbnail_uri


@pytest.fixture
def package(tmp_path, monkeypatch):
    templates = tmp_path / "pages_for_test" / "templates"
    templates.mkdir(parents=True)
    (tmp_path / "pages_for_test" / "__init__.py").touch()
    (templates / "one.html").write_text(
        '{% extends "base.html" %}{% import "parts.html" as parts %}'
        "{% block title %}One{% endblock %}"
        "{% block main %}{{ text }}{{ chart }}{{ parts.verdict('good', text, text) }}"
        "{{ parts.picture(uri, text, text) }}{% endblock %}",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "pages_for_test"


def svg_of(chart):
    return ET.fromstring(re.search(r"<svg viewBox.*</svg>", chart, re.DOTALL)[0])


def test_text_from_users_is_escaped_and_charts_are_not(package):
    chart = bar_chart(["<b>tag</b>"], [3.0], title="<i>title</i>")
    page = render_page("one.html", package=package, text='"><script>x', chart=chart, uri="data:,")
    assert "<script>x" not in page
    assert "<b>tag" not in page
    assert "<i>title" not in page
    assert "<svg viewBox" in page


def test_a_page_names_nothing_outside_itself(package):
    page = render_page("one.html", package=package, text="t", chart="", uri="data:,")
    assert "http" not in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)


def test_a_variable_that_is_missing_stops_the_page(package):
    with pytest.raises(UndefinedError, match="chart"):
        render_page("one.html", package=package, text="t", uri="")


@pytest.mark.parametrize("side", [48, 500])
def test_thumbnails_are_webp_that_fit_and_are_never_enlarged(side):
    picture = Image.new("RGB", (side, side // 2), (250, 20, 30))
    uri = thumbnail_uri(picture, 200)
    head, data = uri.split(",")
    decoded = Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == "data:image/webp;base64"
    assert decoded.size == (min(side, 200), min(side, 200) // 2)
    assert picture.size == (side, side // 2)


def test_small_thumbnails_keep_every_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = thumbnail_uri(Image.fromarray(pixels), 64).split(",")[1]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), pixels)


def test_charts_are_well_formed_with_hostile_names():
    series = [Series(f'<&"{i}', [1, 2, 3], [1, 2, 3], [0, 1, 2], [2, 3, 4]) for i in range(6)]
    chart = line_chart(series, title="<&", x_label="<&", caption="<&", levels=[Level(1, "<&")])
    assert len(svg_of(chart).findall(".//polyline")) == 6
    assert len(svg_of(chart).findall(".//polygon")) == 6
    svg_of(histogram([1.0, 2.0, 2.5], bins=3, title="<&", x_label="<&"))


def test_a_line_rises_on_the_page_when_its_values_rise():
    chart = line_chart([Series("a", [0, 1, 2], [1, 5, 9])], title="t", x_label="x")
    points = svg_of(chart).find(".//polyline").attrib["points"].split()
    xs, ys = zip(*(map(float, point.split(",")) for point in points), strict=True)
    assert xs[0] < xs[1] < xs[2]
    assert ys[0] > ys[1] > ys[2]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)


def test_a_value_that_is_not_a_number_leaves_a_gap():
    chart = line_chart([Series("a", [0, 1, 2], [1, float("nan"), 9])], title="t", x_label="x")
    assert len(svg_of(chart).find(".//polyline").attrib["points"].split()) == 2
    assert "nan" not in chart


def test_a_histogram_counts_every_value_once():
    values = [0.0, 0.1, 0.1, 0.9, 1.0]
    titles = [node.text for node in svg_of(histogram(values, bins=4, title="t", x_label="x")).iter()
              if node.tag.endswith("title")]  # fmt: skip
    assert [int(title.rsplit(": ", 1)[1]) for title in titles] == [3, 0, 0, 2]


def test_a_scatter_puts_agreement_on_the_diagonal():
    svg = svg_of(scatter_chart([Series("a", [0.0, 0.5], [0.0, 0.5])], title="t", x_label="x"))
    start, end = (
        tuple(map(float, point.split(",")))
        for point in svg.find(".//polyline").attrib["points"].split()
    )
    first, second = (
        (float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in svg.findall(".//circle")
    )
    assert first == start
    assert second == pytest.approx([(a + b) / 2 for a, b in zip(start, end, strict=True)], abs=0.1)


def test_bars_are_as_long_as_their_values():
    bars = svg_of(bar_chart(["a", "b"], [10.0, 5.0], title="t")).findall(".//rect")
    first, second = (float(bar.attrib["width"]) for bar in bars)
    assert first == pytest.approx(2 * second)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.013, 0.017), (-3, 1234), (0, 0.0001)])
def test_ticks_enclose_the_range_at_even_round_steps(low, high):
    marks = ticks(low, high)
    steps = np.diff(marks)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 3 <= len(marks) <= 7
    assert np.allclose(steps, steps[0])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (0.12345, "0.123"),
        (0.00012, "0.00012"),
        (0.0093, "0.009"),
        (1.0, "1"),
        (12345, "12,345"),
        (0, "0"),
    ],
)
def test_numbers_are_written_for_reading(value, text):
    assert number(value) == text


def test_a_sentence_starts_with_a_capital_and_keeps_the_rest():
    assert sentence("brightness at CFG 4.5") == "Brightness at CFG 4.5"
