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
