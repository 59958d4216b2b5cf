"""The hub read by the `EventSource` of a real browser, with no script but the page's own."""

import threading
import time

import requests

# Shorter than EventSource's default, so that it often interrupts a transfer.
PAUSE = 0.15
CLOSED = 2

LISTEN = """
(url) => {
    window.seen = [];
    window.ids = [];
    window.errors = 0;
    window.ended = false;
    window.source = new EventSource(url);
    source.onmessage = (event) => {
        seen.push(JSON.parse(event.data).n);
        ids.push(event.lastEventId);
    };
    source.addEventListener('headwater:end', () => { window.ended = true; });
    source.onerror = () => { errors += 1; };
}
"""


class Publisher(threading.Thread):
    """Appends numbers, and repeats each until it is acknowledged, as a producer may."""

    def __init__(self, url, count):
        super().__init__(daemon=True)
        self.url, self.count = url, count
        self.acknowledged = 0
        self.fault = None

    def run(self):
        deadline = time.monotonic() + 60
        while self.acknowledged < self.count and not self.fault:
            if time.monotonic() > deadline:
                self.fault = "out of time"
            try:
                answer = requests.post(
                    self.url,
                    json={"n": self.acknowledged},
                    headers={
                        "Producer-Id": "publisher",
                        "Producer-Epoch": "0",
                        "Producer-Seq": str(self.acknowledged),
                    },
                    timeout=5,
                )
            except requests.RequestException:
                time.sleep(0.05)
                continue
            if answer.status_code in (200, 204):
                self.acknowledged += 1
                time.sleep(0.005)
            else:
                self.fault = f"{answer.status_code}: {answer.text}"


def number(offset):
    """The number in an offset, before the stream's incarnation."""
    return int(offset.split("_")[0])


def test_the_page_has_every_item_once_and_in_order_though_the_hub_is_killed(page, own_hub):
    url = own_hub.create("killed")
    page.goto(own_hub.url("/openapi.json"))
    page.evaluate(LISTEN, "/streams/killed")
    publisher = Publisher(url, 400)
    publisher.start()
    # Once during heavy traffic, and once more after the page has reconnected.
    for least in (30, 200):
        page.wait_for_function(f"seen.length >= {least}", timeout=30_000)
        own_hub.kill()
        time.sleep(PAUSE)
        own_hub.start()
    publisher.join(timeout=60)
    assert publisher.fault is None
    assert publisher.acknowledged == 400
    page.wait_for_function("seen.length >= 400", timeout=45_000)
    assert page.evaluate("seen") == list(range(400))
    assert page.evaluate("errors") >= 2
    ids = page.evaluate("ids")
    assert ids == sorted(set(ids))

    # The end of the stream also ends the page's reading.
    assert requests.post(url, headers={"Stream-Closed": "true"}, timeout=5).status_code == 204
    page.wait_for_function(f"ended && source.readyState === {CLOSED}", timeout=30_000)
    assert page.evaluate("seen.length") == 400


FOLLOW_MANY = """
(url) => {
    window.seen = [];
    window.ids = [];
    window.trimmed = [];
    window.errors = 0;
    window.source = new EventSource(url);
    source.onmessage = (event) => {
        const { id, stream, offset, data } = JSON.parse(event.data);
        seen.push({ id, stream, offset, n: data.n });
        ids.push(event.lastEventId);
    };
    source.addEventListener('headwater:trimmed', (event) => trimmed.push(JSON.parse(event.data)));
    source.onerror = () => { errors += 1; };
}
"""


def test_many_streams_on_one_connection_go_on_by_one_id_though_the_hub_is_killed(page, own_hub):
    """Exact paths and patterns, a stream that is created while they are followed, and one that isn't subscribed."""
    streams = ["orders/tea", "orders/milk", "prices"]
    publishers = [Publisher(own_hub.create(stream), 120) for stream in streams]
    noise = own_hub.create("noise")
    page.goto(own_hub.url("/openapi.json"))
    page.evaluate(FOLLOW_MANY, "/events?stream=prices&stream=orders/*")
    for publisher in publishers:
        publisher.start()
    for least in (30, 150):
        page.wait_for_function(f"seen.length >= {least}", timeout=30_000)
        own_hub.kill()
        time.sleep(PAUSE)
        own_hub.start()
        own_hub.append(noise, {"n": least})
    late = own_hub.create("orders/late")
    own_hub.append(late, {"n": 0}, {"n": 1})
    for publisher in publishers:
        publisher.join(timeout=60)
        assert publisher.fault is None
    page.wait_for_function("seen.length >= 362", timeout=45_000)
    seen = page.evaluate("seen")
    for stream, count in [*((stream, 120) for stream in streams), ("orders/late", 2)]:
        own = [event for event in seen if event["stream"] == stream]
        assert [event["n"] for event in own] == list(range(count)), stream
        assert [number(event["offset"]) for event in own] == list(range(1, count + 1)), stream
    assert len(seen) == 362
    ids = page.evaluate("ids")
    assert ids == [event["id"] for event in seen]
    assert ids == sorted(set(ids))
    assert page.evaluate("errors") >= 2
    assert page.evaluate("trimmed") == []


def test_a_page_is_told_of_what_was_trimmed_before_it_came(page, own_hub):
    url = own_hub.url("/streams/capped")
    headers = {"Content-Type": "application/json", "Stream-Max-Bytes": "20"}
    assert requests.put(url, headers=headers, timeout=5).status_code == 201
    for n in range(50):
        own_hub.append(url, {"n": n})
    deadline = time.monotonic() + 20
    # Messages above a limit are trimmed soon, not at once.
    while number(requests.head(url, timeout=5).headers.get("Stream-Floor", "0")) <= 40:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    page.goto(own_hub.url("/openapi.json"))
    page.evaluate(FOLLOW_MANY, "/events?stream=**")
    page.wait_for_function("trimmed.length === 1 && seen.at(-1)?.n === 49", timeout=30_000)
    told = page.evaluate("trimmed")[0]
    assert (told["stream"], told["trimmed"]) == ("capped", True)
    seen = page.evaluate("seen")
    assert [event["n"] for event in seen] == list(range(number(told["offset"]), 50))
    assert told["id"] < seen[0]["id"]


def test_the_modes_of_the_protocol_resume_in_a_browser_as_well(page, own_hub):
    """`live=sse` has its own control events; a browser's reader receives only the data."""
    url = own_hub.create("protocol")
    own_hub.append(url, *({"n": n} for n in range(5)))
    page.goto(own_hub.url("/openapi.json"))
    listen = LISTEN.replace(
        "source.onmessage = (event) => {\n        seen.push(JSON.parse(event.data).n);",
        "source.addEventListener('data', (event) => {\n"
        "        seen.push(...JSON.parse(event.data).map((item) => item.n));",
    ).replace("ids.push(event.lastEventId);\n    };", "ids.push(event.lastEventId);\n    });")
    page.evaluate(listen, "/streams/protocol?offset=-1&live=sse")
    page.wait_for_function("seen.length >= 5", timeout=30_000)
    own_hub.kill()
    time.sleep(PAUSE)
    own_hub.start()
    own_hub.append(url, {"n": 5}, {"n": 6})
    page.wait_for_function("seen.length >= 7", timeout=45_000)
    assert page.evaluate("seen") == list(range(7))


def test_a_page_of_another_origin_may_read(page, own_hub, own_tour):
    url = own_hub.create("elsewhere")
    own_hub.append(url, {"n": 0}, {"n": 1})
    page.goto(own_tour.url("/openapi.json"))
    page.evaluate(LISTEN, url)
    page.wait_for_function("seen.length === 2", timeout=30_000)
