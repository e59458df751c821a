"""Pages that set two models side by side, in a real browser: sliders, looks, no request."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.support.browser import chromium
from tests.support.small_evaluation import HOSTILE, evaluated

from nadir.config.gate import GateParams
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.report.comparison_page import render_comparison
from nadir.evaluation.report.judgement_page import render_judgement
from nadir.evaluation.report.page import render_report
from nadir.evaluation.verdict.comparison import improvements
from nadir.evaluation.verdict.judgement import judge, usable_scales

SCALES = (3.5, 5.5, 7.5)
PROMOTING = {"policy": "auto", "answer_within_h": 24, "smoke_pictures": 0}
GATE = GateParams.model_validate(
    {
        "primary": {"metric": "loss", "margin": 0.0},
        "guards": {"chroma_gap": 0.05, "tag_recall": 0.2},
        "cfg_scale": None,
        **PROMOTING,
    }
)


def table(rng, burnt=0.0):
    """Rows of a model whose colours burn as guidance rises."""
    rows = [(None, f"image_{i}", 0, "loss", 0.3 + rng.normal(0, 0.01)) for i in range(16)]
    for scale in SCALES:
        for prompt in range(12):
            for seed in range(3):
                where = (scale, f"p{prompt}", seed)
                gap = burnt * (scale - 3.5) / 4 + rng.normal(0, 0.005)
                rows += [(*where, "chroma_gap", gap), (*where, "tag_recall", 0.8 + scale / 100)]
    frame = pd.DataFrame(rows, columns=["cfg_scale", "prompt_id", "seed", "metric", "value"])
    return frame.assign(protocol_id="p", checkpoint="c").astype({"cfg_scale": "float64"})


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    return [table(rng), table(rng, burnt=0.2)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory, tables, pipeline, checkpoint, small_params, holdout):
    folder = tmp_path_factory.mktemp("pages")
    for name, colour in (("champion", "red"), ("challenger", "blue")):
        (folder / name).mkdir()
        for scale in ("3.5", "5.5"):
            for seed in (1, 2):
                picture = Image.new("RGB", (64, 64), colour)
                picture.save(folder / name / f"prompt_ab-cfg-{scale}-seed-{seed}.png")
    shown = {
        "tables": tables,
        "pictures": [folder / "champion", folder / "challenger"],
        "texts": {"prompt_ab": HOSTILE},
    }
    judgement = judge(*tables, GATE, METRICS, resamples=400)
    labels = {"champion": "one", "challenger": "two"}
    gains = improvements(*tables, METRICS, cfg_scale=5.5)
    evaluation = evaluated(pipeline, checkpoint, small_params, holdout)
    texts = {
        "judgement": render_judgement(
            judgement,
            labels,
            params=GATE,
            origins=[{"Code": "commit a", "Data": "md5 d"}, {"Code": HOSTILE, "Data": "md5 d"}],
            **shown,
        ),
        "comparison": render_comparison(gains, (HOSTILE, "two"), cfg_scale=5.5, **shown),
        "evaluation": render_report(evaluation, small_params, checkpoint="c", training={}),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(params=["judgement", "comparison"])
def page(request, pages, browser):
    browser.look(width=1000)
    browser.open(pages / f"{request.param}.html")
    return browser


def cut(page, place=0):
    style = f"document.querySelectorAll('.compare')[{place}].style"
    return float(page.ask(f"{style}.getPropertyValue('--cut')").rstrip("%"))


def box(page, what):
    found = page.ask(
        f"(b => [b.x, b.y, b.width, b.height])(document.querySelector('{what}')"
        ".getBoundingClientRect())"
    )
    return [float(value) for value in found]


def colour_at(page, x, y, file):
    page.screenshot(file)
    with Image.open(file) as picture:
        return picture.convert("RGB").getpixel((round(x), round(y)))


def test_the_mouse_moves_the_line_between_two_pictures(page, tmp_path):
    page.ask(
        "document.querySelector('.compare').scrollIntoView({block: 'center', behavior: 'instant'})"
    )
    left, top, width, height = box(page, ".compare .stack")
    middle = top + height / 2
    page.mouse("mousePressed", left + width / 2, middle)
    page.mouse("mouseMoved", left + width / 4, middle)
    page.mouse("mouseReleased", left + width / 4, middle)
    assert cut(page) == pytest.approx(25, abs=3)
    assert cut(page, 1) == 50
    scrolled = page.ask("window.scrollY")
    file = tmp_path / "page.png"
    above = top + scrolled + 4
    assert colour_at(page, left + width * 0.15, above, file) == (255, 0, 0), "the champion"
    assert colour_at(page, left + width * 0.4, above, file) == (0, 0, 255), "the challenger"


def test_keys_move_it_and_show_which_picture_has_them(page):
    for _ in range(4):  # a table that scrolls has a stop of its own
        page.press("Tab")
        if page.ask("document.activeElement.type") == "range":
            break
    assert page.ask("getComputedStyle(document.querySelector('.stack')).outlineStyle") == "solid"
    for key, wanted in (("ArrowRight", 51), ("Home", 0), ("End", 100), ("ArrowLeft", 99)):
        page.press(key)
        assert cut(page) == wanted
    said = page.ask("document.activeElement.getAttribute('aria-valuetext')")
    assert said.startswith("99 % ")
    assert HOSTILE in page.ask("document.activeElement.getAttribute('aria-label')")


def test_on_paper_both_pictures_are_side_by_side(page):
    page.look(width=1000, paper=True)
    first, second = (box(page, f".compare img.{name}") for name in ("first", "second"))
    assert first[0] + first[2] <= second[0]
    assert page.ask("getComputedStyle(document.querySelector('.compare input')).display") == "none"


@pytest.mark.parametrize("name", ["judgement", "comparison", "evaluation"])
@pytest.mark.parametrize("look", [{"width": 390}, {"width": 1200, "dark": True}])
def test_a_page_asks_for_nothing_and_fits_any_window(pages, browser, name, look):
    browser.look(**look)
    browser.open(pages / f"{name}.html")
    assert browser.ask("document.documentElement.scrollWidth") <= look["width"]
    light = browser.ask("getComputedStyle(document.body).backgroundColor")
    dark = "rgb(17, 20, 28)"
    assert (light == dark) == look.get("dark", False)
    broken = "[...document.images].filter(one => one.complete && !one.naturalWidth).length"
    assert browser.ask(broken) == 0
    assert browser.requests == []
    assert browser.faults == []


ZOOM = "document.querySelector('dialog.zoom')"
SHOWN = f"{ZOOM}.querySelector('img').alt"


@pytest.fixture
def evaluation_page(pages, browser):
    browser.look(width=1200)
    browser.open(pages / "evaluation.html")
    return browser


def click(page, what):
    page.ask(
        f"document.querySelector('{what}').scrollIntoView({{block: 'center', behavior: 'instant'}})"
    )
    left, top, width, height = box(page, what)
    page.mouse("mousePressed", left + width / 2, top + height / 3)
    page.mouse("mouseReleased", left + width / 2, top + height / 3)


def test_a_picture_of_the_evaluation_grows_under_the_mouse(evaluation_page):
    page = evaluation_page
    click(page, "table.grid .picture")
    assert page.ask(f"{ZOOM}.open")
    left, top, width, height = box(page, "dialog.zoom img")
    assert width > 3 * box(page, "table.grid .picture img")[2]
    assert left >= 0
    assert left + width <= 1200
    assert top >= 0
    assert top + height <= 900, "all of it is in the window"
    assert page.ask(SHOWN) == page.ask("document.querySelector('table.grid .picture img').alt")
    click(page, "dialog.zoom img")
    assert not page.ask(f"{ZOOM}.open")


def test_keys_enlarge_a_picture_and_go_on_to_its_neighbours(evaluation_page):
    page = evaluation_page
    page.ask("document.querySelector('table.grid td:not(.real) .picture').focus()")
    alts = page.ask(
        "[...document.querySelectorAll('table.grid')[0].rows].slice(1).map(row => "
        "[...row.querySelectorAll('td:not(.real) img')].map(one => one.alt))"
    )
    page.press("Enter")
    assert page.ask(SHOWN) == alts[0][0]
    for key, row, column in (("ArrowRight", 0, 1), ("ArrowDown", 1, 1), ("ArrowLeft", 1, 0)):
        page.press(key)
        assert page.ask(SHOWN) == alts[row][column]
    page.press("ArrowUp")
    page.press("ArrowUp")
    assert page.ask(SHOWN) == alts[0][0], "above the first row is nothing"
    page.press("Escape")
    assert not page.ask(f"{ZOOM}.open")
    assert page.ask("document.activeElement.querySelector('img').alt") == alts[0][0]
    assert page.faults == []


def test_pictures_of_a_closed_part_are_passed_over(evaluation_page):
    page = evaluation_page
    page.ask("[...document.querySelectorAll('table.grid')][0].querySelectorAll('.picture')")
    page.ask(
        "[...document.querySelectorAll('.picture')].filter(one => one.checkVisibility()).at(-1)"
        ".focus()"
    )
    page.press("Enter")
    last = page.ask(SHOWN)
    page.press("ArrowRight")
    assert page.ask(SHOWN) == last


def test_without_scripts_a_picture_grows_where_it_is(evaluation_page, pages):
    page = evaluation_page
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(pages / "evaluation.html")
        for _ in range(60):
            page.press("Tab")
            if page.ask("document.activeElement.className") == "picture":
                break
        zoomed = "getComputedStyle(document.querySelector('.picture:focus img')).transform"
        assert page.ask(zoomed) != "none"
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


def test_a_scale_where_colours_burn_is_not_usable(tables, pages):
    found = usable_scales(*tables, GATE, METRICS, at=3.5)
    assert found == {"champion": list(SCALES), "challenger": [3.5]}
    text = (pages / "judgement.html").read_text(encoding="utf-8")
    assert "challenger <strong>3.5</strong>" in text
    assert re.search(r"champion <strong>3.5, 5.5, 7.5</strong>", text)
    assert "over tag recall" in text


def test_the_making_of_both_is_set_side_by_side_and_what_differs_stands_out(pages):
    text = (pages / "judgement.html").read_text(encoding="utf-8")
    (table,) = re.findall(r'<table class="origins">.*?</table>', text, re.DOTALL)
    assert '<td class="mono"><strong>commit a</strong></td>' in table
    assert table.count('<td class="mono">md5 d</td>') == 2


def test_what_users_wrote_is_escaped(pages):
    for name in ("judgement", "comparison"):
        text = (pages / f"{name}.html").read_text(encoding="utf-8")
        assert HOSTILE not in text
        assert text.count("<script>") == 1
