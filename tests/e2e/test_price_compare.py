"""The example `price-compare` in a real browser: fifty calls fill a page, which may be reloaded, and are made once."""

import contextlib
import re
import time

import pytest
import requests
from playwright.sync_api import expect

from looking import LOOKS, Witness, assert_nothing_runs_out_at_the_side, screenshot
from tour import Tour

# The stand-ins that are busy at first, and are called once more after that response.
BUSY = {"3", "17", "28"}
ASKED_ONCE = {str(shop): 2 if str(shop) in BUSY else 1 for shop in range(50)}


class Shops(Tour):
    """The shops in their own process: they survive when the page's server is killed."""

    program = "HEADWATER_PRICE_COMPARE"
    command = ("shops",)

    def calls(self):
        return requests.get(self.url("/calls"), timeout=5).json()["shops"]


class Comparer(Tour):
    program = "HEADWATER_PRICE_COMPARE"


@pytest.fixture
def shops():
    with Shops() as shops:
        yield shops


@pytest.fixture
def comparer(shops, tmp_path):
    with Comparer("--data", str(tmp_path / "data"), "--shops", shops.url("")) as comparer:
        yield comparer


def compare(page, comparer, item="green tea"):
    page.goto(comparer.url("/"))
    page.get_by_label("What you are looking for").fill(item)
    page.get_by_role("button", name="Compare").click()


def state(page, words, seconds=30):
    expect(page.locator("#state")).to_have_text(words, timeout=seconds * 1000)


def has_offers(page, least):
    expect(page.locator(".offer").nth(least - 1)).to_be_visible(timeout=20_000)


def shown(page):
    """The content of the page: its offers from the top, and the shops without one."""
    return (
        page.locator(".offer").all_text_contents(),
        sorted(page.locator(".nothing-found").all_text_contents()),
    )


def cents(page):
    prices = page.locator(".offer .price").all_text_contents()
    return [round(float(re.sub(r"[^0-9.]", "", price)) * 100) for price in prices]


def test_the_page_fills_as_the_shops_answer_the_cheapest_on_top(page, comparer, shops):
    compare(page, comparer)
    has_offers(page, 3)
    early = page.locator(".offer").count()
    assert early < 40
    # A single evaluation: another offer may arrive before the next.
    prices = cents(page)
    assert prices == sorted(prices)
    state(page, "Complete")
    offers, nothing = shown(page)
    assert len(offers) == 45
    assert cents(page) == sorted(cents(page))
    # Shops without an offer show the reason.
    whys = "\n".join(nothing)
    assert len(nothing) == 5
    assert whys.count("sold out") == 2
    assert "the till is on fire" in whys
    assert "no answer in 6 s" in whys
    assert "what it says is no price" in whys
    best = page.locator("#best").text_content()
    assert offers[0].endswith(best)
    expect(page.locator("#drops")).to_have_attribute("aria-valuenow", "50")
    assert shops.calls() == ASKED_ONCE


def test_a_reload_shows_the_same_run_without_new_calls(page, comparer, shops):
    compare(page, comparer)
    has_offers(page, 10)
    page.reload()
    has_offers(page, 10)
    state(page, "Complete")
    complete = shown(page)
    assert [len(part) for part in complete] == [45, 5]
    page.reload()
    state(page, "Complete")
    assert shown(page) == complete
    assert shops.calls() == ASKED_ONCE


def test_a_second_tab_shows_the_same_run(page, comparer, shops):
    compare(page, comparer)
    has_offers(page, 5)
    other = page.context.new_page()
    other.goto(page.url)
    has_offers(other, 5)
    state(page, "Complete")
    state(other, "Complete")
    assert shown(other) == shown(page)
    assert shops.calls() == ASKED_ONCE


def test_the_run_continues_without_watchers(page, comparer, shops):
    compare(page, comparer)
    has_offers(page, 1)
    url = page.url
    page.goto("about:blank")
    deadline = time.monotonic() + 20
    while shops.calls() != ASKED_ONCE:
        assert time.monotonic() < deadline, shops.calls()
        time.sleep(0.1)
    page.goto(url)
    state(page, "Complete")
    assert [len(part) for part in shown(page)] == [45, 5]
    assert shops.calls() == ASKED_ONCE


def test_a_restart_shows_what_came_and_says_that_it_was_interrupted(page, comparer, shops):
    compare(page, comparer)
    has_offers(page, 10)
    comparer.kill()
    state(page, "Reconnecting", seconds=10)
    before = shown(page)
    comparer.start()
    state(page, "Interrupted", seconds=45)
    kept = shown(page)
    assert 10 <= len(before[0]) <= len(kept[0]) < 45
    assert cents(page) == sorted(cents(page))
    assert len({row for row in kept[0]}) == len(kept[0])
    page.reload()
    state(page, "Interrupted")
    assert shown(page) == kept
    assert max(shops.calls().values()) <= 2

    # Asking again is another run.
    page.get_by_role("button", name="Ask again").click()
    state(page, "Complete", seconds=45)
    assert [len(part) for part in shown(page)] == [45, 5]


def test_it_describes_itself(comparer):
    document = requests.get(comparer.url("/openapi.json"), timeout=10).json()
    assert list(document["paths"]) == ["/", "/runs/{run}"]
    assert requests.get(comparer.url("/docs"), timeout=10).status_code == 200


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_looks_as_it_should(browser, comparer, look):
    context = browser.new_context(**LOOKS[look])
    with contextlib.closing(context):
        page = context.new_page()
        witness = Witness(page)
        page.goto(comparer.url("/"))
        screenshot(page, f"price-compare-ready-{look}.png")
        compare(page, comparer, "a kettle with a long spout")
        has_offers(page, 12)
        screenshot(page, f"price-compare-filling-{look}.png")
        state(page, "Complete")
        assert_nothing_runs_out_at_the_side(page)
        screenshot(page, f"price-compare-{look}.png")
        witness.assert_all_is_well(comparer)
