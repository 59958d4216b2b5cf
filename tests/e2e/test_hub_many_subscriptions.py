"""Many subscriptions to all streams, with long stream names: their cost for the hub."""

import json
import threading
import time
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.alone

SUBSCRIPTIONS = 300
STREAMS = 1000
# With one cursor for each, including its name, this would be 270 MB.
NAME = "n" * 890
MEMORY = 120 << 20
# The storage allocates 64 MiB before anything is written.
FOLDER = 100 << 20
SECONDS = 180
# Maximum duration of a probe, at the median and at the 99th percentile.
MEDIAN, LATE = 0.1, 0.5


class Probe(threading.Thread):
    """Requests the hub's health and appends one small message, repeatedly."""

    def __init__(self, hub):
        super().__init__(daemon=True)
        self.hub = hub
        self.over = False
        self.took = []

    def run(self):
        with requests.Session() as session:
            while not self.over:
                for call in (
                    lambda: session.get(self.hub.url("/healthz"), timeout=30),
                    lambda: session.post(self.hub.stream("probe"), data="1", headers=JSON, timeout=30),
                ):
                    start = time.monotonic()
                    answer = call()
                    self.took.append(time.monotonic() - start)
                    assert answer.ok, answer.text
                time.sleep(0.01)


JSON = {"Content-Type": "application/json"}


def peak_memory(hub):
    """The hub's peak memory, in bytes."""
    status = Path(f"/proc/{hub.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def on_disk(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def subscription(hub, number):
    return hub.stream(f"__ds/subscriptions/s{number}")


def pending_of(hub, number):
    """Claims all pending streams, acknowledges them, and returns them."""
    told = []
    while True:
        control = subscription(hub, number)
        claim = requests.post(f"{control}/claim", json={"worker": "w"}, timeout=60)
        if claim.status_code == 409:
            assert claim.json()["error"]["code"] == "NO_PENDING_WORK", claim.text
            return told
        claim = claim.json()
        streams = [stream for stream in claim["streams"] if stream["has_pending"]]
        told += [stream["path"] for stream in streams]
        acks = [{"stream": s["path"], "offset": s["tail_offset"]} for s in streams]
        word = {key: claim[key] for key in ("wake_id", "generation")}
        answer = requests.post(
            f"{control}/ack",
            data=json.dumps(word | {"acks": acks, "done": True}),
            headers=JSON | {"Authorization": f"Bearer {claim['token']}"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text


def test_subscriptions_to_all_streams_take_little_and_tell_of_each_message_once(own_hub):
    session = requests.Session()
    names = [f"s/{n:04}{NAME}" for n in range(STREAMS)]
    for name in names:
        assert session.put(own_hub.stream(name), data="1", headers=JSON, timeout=30).ok
    for name in ("wakes", "probe"):
        own_hub.create(name)
    probe = Probe(own_hub)
    probe.start()
    start = time.monotonic()
    wanted = {"type": "pull-wake", "pattern": "s/**", "wake_stream": "wakes"}
    for n in range(SUBSCRIPTIONS):
        answer = session.put(subscription(own_hub, n), json=wanted, timeout=60)
        assert answer.status_code == 201, answer.text
        assert len(answer.content) < 512 << 10
    took = time.monotonic() - start
    for name in names[:50]:
        assert session.post(own_hub.stream(name), data="2", headers=JSON, timeout=30).ok
    assert sorted(pending_of(own_hub, 0)) == names[:50]
    probe.over = True
    probe.join()
    late = sorted(probe.took)
    memory, disk = peak_memory(own_hub), on_disk(own_hub.args[1])
    print(f"{took:.1f} s, {memory >> 20} MiB of memory, {disk >> 20} MiB on the disk,", end=" ")
    print(f"p50 {late[len(late) // 2]:.3f} s, p99 {late[len(late) * 99 // 100]:.3f} s")
    assert took < SECONDS
    assert memory < MEMORY
    assert disk < FOLDER
    assert late[len(late) // 2] < MEDIAN
    assert late[len(late) * 99 // 100] < LATE

    own_hub.kill()
    own_hub.start()
    assert pending_of(own_hub, 0) == []
    assert sorted(pending_of(own_hub, 1)) == names[:50]
    session.post(own_hub.stream(names[60]), data="3", headers=JSON, timeout=30)
    assert pending_of(own_hub, 0) == [names[60]]
    # All pages together list each stream once.
    shown, after = [], None
    while True:
        params = {"limit": 400} | ({"after": after} if after else {})
        page = requests.get(subscription(own_hub, 0), params=params, timeout=60).json()
        shown += [stream["path"] for stream in page["streams"]]
        after = page.get("after")
        if after is None:
            break
    assert shown == names
