"""The page of `nadir compare` in a real browser: mouse, keys, faults, history, looks."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from tests.support.browser import chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser, page_address):
    """The page as it is opened."""
    browser.look(width=1200)
    browser.visit(page_address)
    browser.requests.clear()
    browser.faults.clear()
    browser.ask("byId('steps').value = '2'")
    return browser


def state(page):
    return page.ask("byId('state').textContent")


def click(page, what):
    page.ask(f"document.querySelector({what!r}).scrollIntoView({{block: 'center'}})")
    left, top, width, height = page.ask(
        f"(b => [b.x, b.y, b.width, b.height])(document.querySelector({what!r})"
        ".getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        page.mouse(kind, left + width / 2, top + height / 2)


def drawn(page):
    page.wait("!busy && byId('state').textContent.startsWith('Drawn')")


def test_the_mouse_draws_both_and_moves_the_line(page):
    page.ask(
        "window.said = []; new MutationObserver(() => said.push(byId('state').textContent))"
        ".observe(byId('state'), {childList: true, subtree: true, characterData: true})"
    )
    click(page, "#draw")
    drawn(page)
    assert page.ask("said[0]") == "Drawing one/model… (1 of 2)"
    assert page.ask("said[1]") == "Drawing two/model… (2 of 2)"
    assert re.fullmatch(r"Drawn at 64 × 64 in [\d.]+ s\.", state(page))
    left, top, width, height = page.ask(
        "(b => [b.x, b.y, b.width, b.height])(document.querySelector('.stack')"
        ".getBoundingClientRect())"
    )
    assert width == pytest.approx(height, abs=1)
    page.mouse("mousePressed", left + width / 2, top + height / 2)
    page.mouse("mouseMoved", left + width / 4, top + height / 2)
    page.mouse("mouseReleased", left + width / 4, top + height / 2)
    cut = page.ask("document.querySelector('.compare').style.getPropertyValue('--cut')")
    assert float(cut.rstrip("%")) == pytest.approx(25, abs=3)
    sizes = page.ask("[...document.querySelectorAll('.stack img')].map(one => one.naturalWidth)")
    assert sizes == [64, 64]
    own = urlsplit(page.ask("location.href")).netloc
    assert {urlsplit(one.removeprefix("blob:")).netloc for one in page.requests} == {own}
    assert page.faults == []


def test_keys_alone_write_draw_and_move_the_line(page):
    page.press("Tab")
    assert page.ask("document.activeElement.id") == "prompt"
    page.ask("document.activeElement.select()")
    page.type("1boy, outdoors")
    page.press("Enter", control=True)
    drawn(page)
    assert page.ask("document.activeElement.id") == "prompt"
    assert page.ask("kept[0].asked.prompt") == "1boy, outdoors"
    for _ in range(12):
        page.press("Tab")
        if page.ask("document.activeElement.type") == "range":
            break
    page.press("Home")
    page.press("ArrowRight")
    assert page.ask("document.querySelector('.compare').style.getPropertyValue('--cut')") == "1%"


def test_bad_input_is_one_sentence_beside_its_field(page):
    for field, text, says in (
        ("steps", "many", "Steps must be a whole number from 2 to 150."),
        ("size", "9999x9999", "Width must be 1 to 256 pixels, not 9999."),
    ):
        page.ask(f"byId('{field}').value = '{text}'")
        click(page, "#draw")
        page.wait(f"!busy && byId('{field}-fault').textContent")
        assert page.ask(f"byId('{field}-fault').textContent") == says
        assert page.ask("document.activeElement.id") == field
        assert page.ask(f"byId('{field}').getAttribute('aria-invalid')") == "true"
        assert state(page) == "Nothing was drawn: see the field."
        page.ask(f"byId('{field}').value = '{'2' if field == 'steps' else ''}'")
    click(page, "#draw")
    drawn(page)
    assert page.ask("[...document.querySelectorAll('.fault')].every(one => !one.textContent)")


def test_earlier_pictures_come_back_with_what_was_asked_and_can_be_kept(page):
    for seed in ("1", "2"):
        page.ask(f"byId('seed').value = '{seed}'")
        click(page, "#draw")
        drawn(page)
        page.ask("byId('state').textContent = ''")
    newest = page.ask("document.querySelector('.stack img').src")
    click(page, "#history li:last-child button")
    page.wait("byId('seed').value === '1'")
    assert page.ask("document.querySelector('.stack img').src") != newest
    assert page.ask("document.querySelectorAll('[aria-current=true]').length") == 1
    assert page.ask("byId('download-1').download") == "two_model seed 1.png"
    assert page.ask("byId('download-1').href").startswith("blob:http://127.0.0.1:")
    assert "seed 1, CFG 4.5, 2 steps, euler" in page.ask(
        "document.querySelector('figcaption').textContent"
    )


@pytest.mark.parametrize("look", [{"width": 400}, {"width": 1200, "dark": True}])
def test_it_fits_any_window_in_light_and_dark(page, look):
    page.ask("byId('size').value = '32x128'")
    click(page, "#draw")
    drawn(page)
    page.look(**look)
    assert page.ask("document.documentElement.scrollWidth") <= look["width"]
    dark = page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(17, 20, 28)"
    assert dark == look.get("dark", False)
    rightmost = "Math.max(...[...document.querySelectorAll('main *')].map(rightOf))"
    page.ask("window.rightOf = one => one.getBoundingClientRect().right")
    assert page.ask(rightmost) <= look["width"]
