"""Two hubs on one log, behind a proxy: readers continue at the other hub when theirs is killed."""

import json
import threading
import time

import httpx
import httpx_sse
import pytest
import requests

from cluster import ClusterHub, NatsServer, RoundRobin
from test_hub_browser import LISTEN, PAUSE, Publisher

COUNT = 300


@pytest.fixture
def proxy():
    with NatsServer() as server, ClusterHub(server) as one, ClusterHub(server) as other:
        with RoundRobin([one, other]) as proxy:
            yield proxy


def create(proxy, path):
    answer = requests.put(
        proxy.url(path), headers={"Content-Type": "application/json"}, timeout=10
    )
    assert answer.status_code == 201, answer.text


def kill_in_turn(proxy, reader, seen):
    """Kills the hub that serves the reader, once during heavy traffic and once more after the reader has continued."""
    for least in (30, 150):
        seen(least)
        hub = proxy.serving(reader)
        hub.kill()
        if least == 30:
            seen(100)
            assert proxy.serving(reader) is not hub
        time.sleep(PAUSE)
        hub.start()


def test_the_page_continues_at_the_other_hub_by_its_id(page, proxy):
    create(proxy, "/streams/killed")
    page.goto(proxy.url("/openapi.json"))
    page.evaluate(LISTEN, "/streams/killed")
    publisher = Publisher(proxy.url("/streams/killed"), COUNT)
    publisher.start()

    def seen(least):
        page.wait_for_function(f"seen.length >= {least}", timeout=30_000)

    kill_in_turn(proxy, b"GET /streams/killed", seen)
    publisher.join(timeout=60)
    assert publisher.fault is None
    seen(COUNT)
    assert page.evaluate("seen") == list(range(COUNT))
    assert page.evaluate("errors") >= 2
    ids = page.evaluate("ids")
    assert ids == sorted(set(ids))


class Reader(threading.Thread):
    """Reads by httpx-sse, and reconnects with the last id."""

    def __init__(self, url, count):
        super().__init__(daemon=True)
        self.url, self.count = url, count
        self.seen, self.ids = [], []
        self.connections = 0

    def run(self):
        while len(self.seen) < self.count:
            headers = {"Last-Event-ID": self.ids[-1]} if self.ids else {}
            try:
                self.read(headers)
            except httpx.HTTPError:
                time.sleep(0.05)

    def read(self, headers):
        with httpx.Client(timeout=20) as client:
            with httpx_sse.connect_sse(client, "GET", self.url, headers=headers) as source:
                self.connections += 1
                for event in source.iter_sse():
                    # A hub that stops sends a delay without data, which httpx-sse reports as an event.
                    if event.event == "message" and event.data:
                        self.seen.append(json.loads(event.data)["n"])
                        self.ids.append(event.id)
                    if len(self.seen) == self.count:
                        return


def test_a_python_reader_continues_at_the_other_hub_by_its_id(proxy):
    create(proxy, "/streams/killed")
    url = proxy.url("/streams/killed")
    reader, publisher = Reader(url, COUNT), Publisher(url, COUNT)
    reader.start()
    publisher.start()

    def seen(least):
        deadline = time.monotonic() + 30
        while len(reader.seen) < least:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    kill_in_turn(proxy, b"GET /streams/killed", seen)
    publisher.join(timeout=60)
    assert publisher.fault is None
    reader.join(timeout=60)
    assert reader.seen == list(range(COUNT))
    assert reader.ids == sorted(set(reader.ids))
    assert reader.connections >= 3


def test_messages_at_hand_are_read_while_no_server_answers():
    with NatsServer() as server, ClusterHub(server) as hub:
        url = hub.url("/streams/at-hand")
        for path in ("at-hand", "idle"):
            headers = {"Content-Type": "application/json"}
            headers |= {"Stream-TTL": "3600"} if path == "idle" else {}
            put = requests.put(hub.url(f"/streams/{path}"), data="[1,2,3]", headers=headers, timeout=10)
            assert put.status_code == 201, put.text
        assert requests.get(url, timeout=10).headers["Stream-Up-To-Date"] == "true"
        server.process.kill()
        server.process.wait(timeout=10)
        start = time.monotonic()
        append = requests.post(url, json=4, timeout=60)
        assert time.monotonic() - start < 26
        assert (append.status_code, append.json().get("code")) in [(503, None), (500, "outcome_unknown")]
        # From here on, nothing waits for the servers.
        start = time.monotonic()
        for path in ("at-hand", "idle"):
            whole = requests.get(hub.url(f"/streams/{path}"), timeout=10)
            assert whole.json() == [1, 2, 3]
            assert "Stream-Up-To-Date" not in whole.headers
            # There may be more, so no cache may keep it.
            assert whole.headers["Cache-Control"] == "public, no-cache"
            tag = {"If-None-Match": whole.headers["ETag"]}
            same = requests.get(hub.url(f"/streams/{path}"), headers=tag, timeout=10)
            assert (same.status_code, same.headers["Cache-Control"]) == (304, "public, no-cache")
            # Only the log knows where `now` is.
            for live in ("false", "long-poll", "sse"):
                now = requests.get(f"{hub.url(f'/streams/{path}')}?offset=now&live={live}", timeout=10)
                assert now.status_code == 503, (live, now.text)
        with httpx.Client(timeout=10) as http:
            with httpx_sse.connect_sse(http, "GET", url) as source:
                events = source.iter_sse()
                assert [json.loads(next(events).data) for _ in range(3)] == [1, 2, 3]
            lines = []
            with pytest.raises(httpx.RemoteProtocolError):
                with http.stream("GET", hub.url("/events?stream=at-hand&live=false&after=-1")) as events:
                    # Cut, as it isn't known whether these are all.
                    lines += events.iter_lines()
            assert [json.loads(line)["data"] for line in lines if line] == [1, 2, 3]
        assert time.monotonic() - start < 8
        assert requests.get(hub.url("/readyz"), timeout=10).status_code == 503
