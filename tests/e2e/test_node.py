"""The tour read by the `eventsource` package of Node.js."""

import json
import subprocess
import time

import pytest

from programs import NODE_FOLDER, node

SCRIPT = NODE_FOLDER / "read.mjs"


@pytest.fixture
def read():
    """Starts the script. Returns its process and an iterator over its output."""
    processes = []

    def start(url):
        process = subprocess.Popen(
            [node(), SCRIPT, url, "headwater:end"], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process, map(json.loads, process.stdout)

    yield start
    for process in processes:
        process.kill()
        process.wait(timeout=10)


def test_it_reads_every_item_and_stops_after_the_end(recorder, read):
    process, printed = read(recorder.url("/ticks?count=5&every_ms=50"))
    # The script exits by itself: after the 204 nothing keeps it running.
    events = list(printed)
    assert process.wait(timeout=30) == 0
    items = [event["data"]["n"] for event in events if event["type"] == "message"]
    assert items == [1, 2, 3, 4, 5]
    assert events[-1] == {"type": "error", "code": 204, "closed": True}
    requests = recorder.requests("/ticks")
    assert [request.get("last-event-id") for request in requests] == [None, "headwater:end"]
    assert recorder.statuses() == [200, 204]


def test_nothing_is_lost_or_doubled_when_the_connection_is_cut(recorder, read):
    _, printed = read(recorder.url("/ticks?count=20&every_ms=50"))
    items = []
    for event in printed:
        if event["type"] == "message":
            items.append(event["data"]["n"])
            if event["data"]["n"] in (4, 11):
                recorder.cut()
        if event["type"] == "headwater:end":
            break
    assert items == list(range(1, 21))
    assert len(recorder.requests("/ticks")) == 3


def test_nothing_is_lost_or_doubled_when_the_server_is_restarted(own_tour, read):
    _, printed = read(own_tour.url("/ticks?count=20&every_ms=50"))
    items = []
    for event in printed:
        if event["type"] == "message":
            items.append(event["data"]["n"])
            if event["data"]["n"] == 5:
                own_tour.kill()
                time.sleep(0.2)
                own_tour.start()
        if event["type"] == "headwater:end":
            break
    assert items == list(range(1, 21))
