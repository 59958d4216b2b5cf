"""The pages that document the tour and play its streams, in a real browser.

The browser resolves no name, so any request of a page to another host fails visibly.
"""

import re
import time

import pytest
from playwright.sync_api import expect

from looking import LOOKS, Witness, assert_nothing_runs_out_at_the_side, screenshot

# Returns the page's clock once the reference is drawn, and readable.
DRAWN = """() => document.querySelector('a[href="#tag/start/GET/watch"]') && performance.now()"""

OPERATIONS = {
    "start": ["get /", "get /watch"],
    "streams": ["get /ticks", "get /text", "post /answer"],
    "this-machine": ["get /system", "get /tail"],
}


@pytest.fixture(params=LOOKS)
def look(request):
    return request.param


@pytest.fixture
def looking(browser, look):
    """A page in one of the looks, and its requests."""
    context = browser.new_context(**LOOKS[look])
    page = context.new_page()
    yield page, Witness(page)
    context.close()


@pytest.fixture
def witness(page):
    return Witness(page)


def open_player(page, server, operation, **fields):
    """Opens the player with an operation and fills in its form, like a person."""
    page.goto(server.url(f"/docs/play#{operation}"))
    expect(page.locator("#status")).to_have_text("Ready", timeout=10_000)
    for name, value in fields.items():
        page.get_by_label(name, exact=True).fill(str(value))


def choose_format(page, name):
    page.locator("#form label").filter(has=page.locator(f'input[value="{name}"]')).click()


def wait_for_items(page, count):
    """Waits until the page has at least this many."""
    page.locator("#items .item").nth(count - 1).wait_for(state="attached", timeout=10_000)


def numbers(page):
    """The numbers of the ticks that are on the page."""
    shown = page.locator("#items .data").all_text_contents()
    return [int(re.search(r'n"?: ?(\d+)', text)[1]) for text in shown]


def test_the_reference_shows_the_operations_and_asks_no_other_host(tour, looking, look, capsys):
    page, witness = looking
    page.goto(tour.url("/docs"))
    milliseconds = page.wait_for_function(DRAWN, timeout=30_000).json_value()
    with capsys.disabled():
        print(f"\n/docs was drawn after {milliseconds:.0f} ms ({look})")
    assert_nothing_runs_out_at_the_side(page)
    screenshot(page, f"docs-{look}.png")
    # Content outside of the viewport is drawn when it is scrolled into view.
    main = page.get_by_role("main")
    for tag, operations in OPERATIONS.items():
        place = page.locator(f'[id$="tag/{tag}"]').last
        place.evaluate("(place) => place.scrollIntoView()")
        for operation in operations:
            link = main.get_by_role("link", name=operation, exact=True)
            expect(link).to_be_visible(timeout=10_000)
    assert_nothing_runs_out_at_the_side(page)
    page.wait_for_load_state("networkidle")
    witness.assert_all_is_well(tour)


def test_the_operations_are_listed_before_the_references_script_is_there(page, tour):
    page.route("**/docs/scalar.js*", lambda route: None)
    page.goto(tour.url("/docs"), wait_until="domcontentloaded")
    overview = page.locator("#overview")
    expect(overview).to_contain_text("/ticks", timeout=10_000)
    expect(overview).to_contain_text("Streams typed items.")
    expect(overview.get_by_role("link", name="Play", exact=True)).to_have_count(4)
    expect(page.locator("#waiting")).to_be_visible()


def test_the_references_script_is_kept_by_the_browser(page, tour):
    sizes = []
    for _ in range(2):
        page.goto(tour.url("/docs"))
        page.wait_for_function(DRAWN, timeout=30_000)
        entry = "performance.getEntriesByType('resource').find((one) => one.name.includes('scalar.js'))"
        sizes.append(page.evaluate(f"{entry}.transferSize"))
    assert sizes[0] > 0 and sizes[1] == 0, sizes


@pytest.mark.parametrize(
    ("place", "operation", "path"),
    [
        ("tag/streams/GET/ticks", "ticks", "/ticks"),
        ("tag/streams/POST/answer", "answer", "/answer"),
        ("tag/this-machine/GET/system", "machine", "/system"),
        ("tag/this-machine/GET/tail", "tail", "/tail"),
    ],
)
def test_the_reference_leads_to_the_player(page, witness, tour, place, operation, path):
    page.goto(tour.url(f"/docs#{place}"))
    with page.expect_popup() as popup:
        page.locator(f'a[href$="docs/play#{operation}"]').first.click(timeout=30_000)
    player = popup.value
    assert player.url == tour.url(f"/docs/play#{operation}")
    expect(player.locator("#path")).to_have_text(path)
    expect(player.locator("#status")).to_have_text("Ready")
    witness.assert_all_is_well(tour)


def test_an_item_is_on_the_page_before_later_ones_are_sent(page, witness, recorder):
    open_player(page, recorder, "ticks", count=4, every_ms=1000)
    page.locator("#start").click()
    wait_for_items(page, 1)
    first_seen = time.monotonic()
    expect(page.locator("#status")).to_have_text("Ended after 4 items", timeout=15_000)
    assert first_seen < recorder.sent_at(b'"n":3')
    assert numbers(page) == [1, 2, 3, 4]
    witness.assert_all_is_well(recorder)


@pytest.mark.parametrize("name", ["ndjson", "sse", "json-seq", "json", "text"])
def test_every_format_is_played_item_by_item(page, witness, tour, name):
    open_player(page, tour, "ticks", count=4, every_ms=600)
    choose_format(page, name)
    page.locator("#start").click()
    wait_for_items(page, 2)
    expect(page.locator("body")).to_have_attribute("data-state", "open")
    expect(page.locator("#status")).to_have_text("Ended after 4 items", timeout=10_000)
    assert numbers(page) == [1, 2, 3, 4]
    witness.assert_all_is_well(tour)


def test_stop_ends_the_stream_at_the_server(page, own_tour):
    open_player(page, own_tour, "ticks", count=1000, every_ms=100)
    page.locator("#start").click()
    wait_for_items(page, 3)
    page.locator("#stop").click()
    expect(page.locator("#status")).to_have_text(re.compile("^Stopped after"))
    own_tour.wait_for_line("path=/ticks", 'end="left"', seconds=5)
    count = page.locator("#items .item").count()
    page.wait_for_timeout(500)
    assert page.locator("#items .item").count() == count


def test_cut_and_resume_goes_on_behind_the_last_id(page, witness, recorder):
    open_player(page, recorder, "ticks", count=30, every_ms=200)
    choose_format(page, "sse")
    page.locator("#start").click()
    for played in (3, 7):
        wait_for_items(page, played)
        page.locator("#cut").click()
    expect(page.locator("#status")).to_have_text("Ended after 30 items", timeout=15_000)
    assert numbers(page) == list(range(1, 31))
    ids = [request.get("last-event-id") for request in recorder.requests("/ticks")]
    assert ids.count(None) == 1
    first, second = sorted(int(id) for id in ids if id)
    assert 3 <= first < second < 30
    expect(page.locator("#items .seam").filter(has_text="connection cut")).to_have_count(2)
    witness.assert_all_is_well(recorder)


def test_a_connection_that_broke_is_said_and_can_be_taken_up(page, recorder):
    open_player(page, recorder, "ticks", count=20, every_ms=200)
    choose_format(page, "sse")
    page.locator("#start").click()
    wait_for_items(page, 3)
    recorder.cut()
    expect(page.locator("#notice")).to_contain_text("broke before the stream ended", timeout=10_000)
    page.locator("#cut").click()
    expect(page.locator("#status")).to_have_text("Ended after 20 items", timeout=15_000)
    assert numbers(page) == list(range(1, 21))


def test_a_post_is_played_with_its_body_and_event_names(page, witness, tour):
    open_player(page, tour, "answer", body='{"prompt": "where it begins", "words_per_second": 5}')
    choose_format(page, "sse")
    page.locator("#start").click()
    expect(page.locator("#status")).to_have_text("Ended after 4 items", timeout=10_000)
    events = page.locator("#items .event").all_text_contents()
    assert events == ["word", "word", "word", "usage"]
    witness.assert_all_is_well(tour)


PLACES = """() => ['.controls', '#start', '#stop', '#cut', '.status', '.meter', '.meter canvas', '.listing']
    .map((one) => JSON.stringify(document.querySelector(one).getBoundingClientRect()))"""


@pytest.mark.alone
@pytest.mark.parametrize("width", [1300, 900])
def test_nothing_moves_while_a_stream_plays(page, tour, width):
    page.set_viewport_size({"width": width, "height": 800})
    open_player(page, tour, "ticks", count=100_000, every_ms=1)
    choose_format(page, "sse")
    before = page.evaluate(PLACES)
    page.locator("#start").click()
    for count in (1, 10, 100, 900):
        wait_for_items(page, count)
        assert page.evaluate(PLACES) == before
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text(re.compile("^Stopped after"))
    assert page.evaluate(PLACES) == before


def test_the_cut_says_why_it_cannot_be_used(page, tour):
    open_player(page, tour, "ticks", count=100, every_ms=100)
    choose_format(page, "ndjson")
    cut, why = page.locator("#cut"), page.locator("#why")
    expect(cut).to_be_disabled()
    expect(why).to_contain_text("only SSE")
    assert "only SSE" in cut.get_attribute("title")
    choose_format(page, "sse")
    expect(why).to_contain_text("start the stream first")
    page.locator("#start").click()
    expect(cut).to_be_enabled(timeout=10_000)
    expect(why).to_have_text("")


def test_of_long_ids_what_differs_is_shown(page, tour):
    events = "".join(f"id: {n:016}_k7m2q9xw3d\ndata: {n}\n\n" for n in range(98, 101))
    page.route(
        "**/ticks*", lambda route: route.fulfill(content_type="text/event-stream", body=events)
    )
    open_player(page, tour, "ticks")
    choose_format(page, "sse")
    page.locator("#start").click()
    wait_for_items(page, 3)
    ids = page.locator("#items .id")
    assert ids.all_text_contents() == ["98", "99", "100"]
    assert ids.first.get_attribute("title") == "id: 0000000000000098_k7m2q9xw3d"


def test_faults_of_a_request_are_shown_at_their_fields(page, tour):
    open_player(page, tour, "ticks", count="many", every_ms=99_999_999)
    page.locator("#start").click()
    expect(page.locator("#notice")).to_contain_text("422", timeout=10_000)
    faults = page.locator("#fields .faults li")
    expect(faults).to_have_count(2)
    expect(faults.nth(1)).to_contain_text("3600000")


def test_the_player_is_for_every_look(looking, look, tour):
    page, witness = looking
    page.goto(tour.url("/docs/play"))
    expect(page.locator("#status")).to_have_text("Ready", timeout=10_000)
    assert_nothing_runs_out_at_the_side(page)
    open_player(page, tour, "machine", every_ms=250)
    page.locator("#start").click()
    wait_for_items(page, 4)
    assert_nothing_runs_out_at_the_side(page)
    screenshot(page, f"player-{look}.png")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] < 100")
    assert dark == (look == "dark")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text(re.compile("^Stopped after"))
    witness.assert_all_is_well(tour)


def test_the_keyboard_is_enough(page, tour):
    open_player(page, tour, "ticks")
    page.get_by_label("count", exact=True).focus()
    page.keyboard.type("1000")
    page.keyboard.press("Tab")
    page.keyboard.type("100")
    page.keyboard.press("Enter")
    wait_for_items(page, 2)
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text(re.compile("^Stopped after"))


@pytest.mark.parametrize("path", ["/docs", "/docs/play"])
def test_a_page_says_by_its_policy_that_it_needs_no_other_host(page, tour, path):
    policy = page.goto(tour.url(path)).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?:|\*", policy)
