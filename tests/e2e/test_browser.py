"""The tour read by the `EventSource` of a real browser, and the page that it draws."""

import json
import re

import pytest
from playwright.sync_api import expect

from looking import LOOKS, Witness, assert_nothing_runs_out_at_the_side, screenshot

# Stores every event of a stream in `window.seen`, and each open and failure.
LISTEN = """
(url) => {
    window.seen = [];
    window.errors = [];
    window.opened = 0;
    window.source = new EventSource(url);
    source.onopen = () => { opened += 1; };
    source.onmessage = (event) => {
        const item = document.createElement('li');
        item.textContent = event.data;
        document.body.append(item);
        seen.push(JSON.parse(event.data).n);
    };
    source.addEventListener('headwater:end', () => { window.ended = true; });
    source.onerror = () => { errors.push(source.readyState); };
}
"""
CLOSED = 2


def test_items_appear_in_the_page_as_they_come(page, tour):
    page.goto(tour.url("/"))
    page.evaluate(LISTEN, "/ticks?count=100&every_ms=200")
    page.wait_for_function("document.querySelectorAll('li').length === 2", timeout=10_000)
    page.wait_for_function("document.querySelectorAll('li').length === 4", timeout=10_000)
    assert '"n":3' in page.locator("li").nth(2).text_content()
    assert page.evaluate("[opened, errors.length]") == [1, 0]


def test_it_stops_after_the_end_of_the_stream(page, recorder):
    page.goto(recorder.url("/"))
    page.evaluate(LISTEN, "/ticks?count=5&every_ms=20")
    page.wait_for_function(f"source.readyState === {CLOSED}", timeout=30_000)
    assert page.evaluate("seen") == [1, 2, 3, 4, 5]
    assert page.evaluate("ended")
    # One request after the first one, answered with 204. Then no other, after any wait.
    page.wait_for_timeout(4_000)
    requests = recorder.requests("/ticks")
    assert [request.get("last-event-id") for request in requests] == [None, "headwater:end"]
    assert [status for status in recorder.statuses() if status == 204] == [204]


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_it_resumes_after_the_server_was_restarted(page, own_tour, end):
    page.goto(own_tour.url("/"))
    page.evaluate(LISTEN, "/ticks?count=30&every_ms=50")
    page.wait_for_function("seen.length >= 5", timeout=10_000)
    getattr(own_tour, end)()
    page.wait_for_function("errors.length >= 1", timeout=10_000)
    assert page.evaluate("seen.length") < 30
    own_tour.start()
    page.wait_for_function("window.ended", timeout=45_000)
    assert page.evaluate("seen") == list(range(1, 31))


def test_nothing_is_lost_or_doubled_when_the_connection_is_cut(page, recorder):
    page.goto(recorder.url("/"))
    page.evaluate(LISTEN, "/ticks?count=20&every_ms=100")
    page.wait_for_function("seen.length >= 7", timeout=10_000)
    recorder.cut()
    page.wait_for_function("window.ended", timeout=45_000)
    assert page.evaluate("seen") == list(range(1, 21))
    assert len(recorder.requests("/ticks")) == 2


@pytest.mark.parametrize("look", LOOKS)
def test_the_watch_page_draws_the_machine_live(browser, tour, look):
    context = browser.new_context(**LOOKS[look])
    try:
        page = context.new_page()
        witness = Witness(page)
        page.goto(tour.url("/watch"))

        # The figures are shown, and keep changing.
        expect(page.locator("#state")).to_have_text("Live", timeout=10_000)
        expect(page.locator("#cpu")).to_have_text(re.compile(r"^\d+$"), timeout=10_000)
        expect(page.locator("#memory")).to_have_text(re.compile(r"\d"))
        expect(page.locator("#cores > *").first).to_be_visible()
        expect(page.locator("#disks")).to_have_text(re.compile(r"\d"))
        expect(page.locator("#items")).to_have_text("4", timeout=10_000)
        assert json.loads(page.locator("#raw").text_content())
        assert is_drawn(page, "#cpu-chart") and is_drawn(page, "#network-chart")

        assert_nothing_runs_out_at_the_side(page)
        screenshot(page, f"watch-{look}.png")

        witness.assert_all_is_well(tour)
        assert any("/system" in url for url in witness.asked)
    finally:
        context.close()


def test_the_watch_page_says_when_the_stream_is_gone_and_comes_back(page, own_tour):
    page.goto(own_tour.url("/watch"))
    state = page.locator("#state")
    expect(state).to_have_text("Live", timeout=10_000)
    own_tour.kill()
    expect(state).to_have_text(re.compile("^Reconnecting"), timeout=10_000)
    own_tour.start()
    expect(state).to_have_text("Live", timeout=45_000)
    expect(page.locator("#breaks")).to_have_text("1")


def is_drawn(page, canvas):
    """`True` if any pixel of a canvas is set."""
    return page.locator(canvas).evaluate(
        """(canvas) => canvas.getContext('2d')
            .getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0)"""
    )
