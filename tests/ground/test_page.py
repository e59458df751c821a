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

from nadir.ground.pages.charts import (
    Level,
    Series,
    bar_chart,
    histogram,
    line_chart,
    scatter_chart,
)
from nadir.ground.pages.page import number, render_page, sentence, thumbnail_uri


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
    # XML, unlike HTML, wants the prefix of `xlink:href` declared.
    text = re.search(r"<svg viewBox.*</svg>", chart, re.DOTALL)[0]
    return ET.fromstring(text.replace("<svg ", '<svg xmlns:xlink="x" ', 1))


def tips_of(chart):
    return [node.text for node in svg_of(chart).iter("title")]


def path_of(node):
    """The corners of a shape in the drawing's units."""
    return [tuple(map(float, p)) for p in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", node.attrib["d"])]


def marks_of(chart):
    """Places of the markers that have a tip."""
    marks = [g.find("g/use") for g in svg_of(chart).iter("g") if g.find("title") is not None]
    return [(float(mark.attrib["x"]), float(mark.attrib["y"])) for mark in marks]


def test_text_from_users_is_escaped_and_charts_are_not(package):
    chart = bar_chart(["<b>tag</b>"], [3.0], title="<i>title</i>")
    page = render_page("one.html", package=package, text='"><script>x', chart=chart, uri="data:,")
    assert "<script>x" not in page
    assert "<b>tag" not in page
    assert "<i>title" not in page
    assert "<svg viewBox" in page


def test_characters_that_are_orders_stand_in_a_page_as_their_codes(package):
    """File names and tags; a page may be read in a terminal, and a line turned around anywhere."""
    chart = bar_chart(["a\x1b[2Jb"], [3.0], title="c\x07d")
    page = render_page("one.html", package=package, text="e\u202ef\x00", chart=chart, uri="data:,")
    for shown in (r"a\x1b[2Jb", r"c\x07d", r"e\u202ef\x00"):
        assert shown in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)


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
    names = [*(f'<&"{i}$x$' for i in range(5)), "\N{CJK UNIFIED IDEOGRAPH-732B}"]
    series = [Series(name, [1, 2, 3], [1, 2, 3], [0, 1, 2], [2, 3, 4]) for name in names]
    chart = line_chart(series, title="<&", x_label="<&", caption="<&", levels=[Level(1, "<&")])
    assert tips_of(chart) == [f"{name}: {i} at {i}" for name in names for i in (1, 2, 3)]
    assert set(names) <= {node.text for node in svg_of(chart).iter("text")}
    for chart in (
        bar_chart(names, [1.0] * 6, title="<&"),
        histogram([1.0, 2.0, 2.5], bins=3, title="<&", x_label="<&"),
    ):
        assert len(tips_of(chart)) in (3, 6)


def test_charts_have_the_colours_and_the_font_of_the_page():
    series = [Series(f"s{i}", [1, 2], [1, 2], [0, 1], [2, 3]) for i in range(6)]
    chart = line_chart(series, title="t", x_label="x", levels=[Level(1, "limit")])
    assert not re.findall("#[0-9a-f]{6}\\b", chart)
    assert {f"--c{i}" for i in range(1, 7)} < set(re.findall(r"var\((--\w+)\)", chart))
    assert "font-family" not in chart
    assert "<style" not in chart
    assert "http" not in chart


def test_equal_charts_are_equal_bytes():
    def draw():
        return line_chart([Series("a", [0, 1], [1, 5])], title="t", x_label="x")

    assert draw() == draw()


def test_a_line_rises_on_the_page_when_its_values_rise():
    chart = line_chart([Series("a", [0, 1, 2], [1, 5, 9])], title="t", x_label="x")
    xs, ys = zip(*marks_of(chart), strict=True)
    assert xs[0] < xs[1] < xs[2]
    assert ys[0] > ys[1] > ys[2]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)


def test_a_value_that_is_not_a_number_leaves_a_gap():
    nan, inf = float("nan"), float("inf")
    chart = line_chart([Series("a", [0, 1, 2, 3, 4], [1, 2, nan, inf, 9])], title="t", x_label="x")
    assert len(marks_of(chart)) == 3
    assert "nan" not in chart
    assert "inf" not in chart


def test_a_chart_from_zero_shows_zero():
    series = [Series("a", [0, 1], [8.0, 9.0])]
    shown = {}
    for from_zero in (False, True):
        chart = line_chart(series, title="t", x_label="x", x_ticks=[1], from_zero=from_zero)
        shown[from_zero] = "0" in [node.text for node in svg_of(chart).iter("text")]
    assert shown == {False: False, True: True}


def test_a_histogram_counts_every_value_once():
    values = [0.0, 0.1, 0.1, 0.9, 1.0, float("nan")]
    tips = tips_of(histogram(values, bins=4, title="t", x_label="x"))
    assert [int(tip.rsplit(": ", 1)[1]) for tip in tips] == [3, 0, 0, 2]


@pytest.mark.parametrize("values", [[], [7.0], [0.5, 0.5000000000000001], [0.0, 0.0]])
def test_a_histogram_of_one_value_has_bins_too(values):
    tips = tips_of(histogram(values, bins=4, title="t", x_label="x"))
    assert sum(int(tip.rsplit(": ", 1)[1]) for tip in tips) == max(len(values), 1)


def test_a_scatter_puts_agreement_on_the_diagonal():
    chart = scatter_chart([Series("a", [0.0, 0.5], [0.0, 0.5])], title="t", x_label="x")
    dashed = [node for node in svg_of(chart).iter("path") if "dasharray" in node.get("style", "")]
    start, end = path_of(dashed[0])
    first, second = marks_of(chart)
    assert first == start
    assert second == pytest.approx([(a + b) / 2 for a, b in zip(start, end, strict=True)], abs=0.1)


def test_bars_are_as_long_as_their_values():
    svg = svg_of(bar_chart(["a", "b"], [10.0, 5.0], title="t"))
    bars = [path_of(g.find("path")) for g in svg.iter("g") if g.find("title") is not None]
    first, second = (max(x for x, _ in bar) - min(x for x, _ in bar) for bar in bars)
    assert first == pytest.approx(2 * second, abs=0.1)


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
