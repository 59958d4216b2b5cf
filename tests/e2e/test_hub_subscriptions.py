"""Webhooks of a hub that is killed repeatedly: every acknowledged message is processed."""

import http.server
import json
import random
import threading
import time

import requests

ROUNDS = 8


class Worker(http.server.ThreadingHTTPServer):
    """A webhook that reads the announced streams, and fails at times."""

    def __init__(self, hub):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = hub
        self.chance = random.Random(11)
        self.processed = set()
        self.generations = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"

    def work(self, wake):
        self.generations.append(wake["generation"])
        for stream in wake["streams"]:
            if stream["has_pending"]:
                url = self.hub.stream(stream["path"])
                answer = requests.get(url, params={"offset": stream["acked_offset"]}, timeout=5)
                answer.raise_for_status()
                self.processed.update(answer.json())


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 200
        try:
            self.server.work(json.loads(body))
        except requests.RequestException:
            status = 503
        if self.server.chance.random() < 0.1:
            status = 500
        answer = b'{"done": true}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def publish_until_killed(hub, first, killer):
    """Appends numbers until the hub is gone. Returns the acknowledged ones, and the next.

    The killer's time starts with the second acknowledgement, however slow the machine is.
    """
    acknowledged = set()
    number = first
    while True:
        number += 1
        url = hub.stream(f"events/{number % 5}")
        headers = {"Content-Type": "application/json"}
        try:
            requests.put(url, headers=headers, timeout=5)
            answer = requests.post(url, data=str(number), headers=headers, timeout=5)
        except requests.RequestException:
            return acknowledged, number
        assert answer.status_code in (200, 204), answer.text
        acknowledged.add(number)
        if len(acknowledged) == 2:
            killer.start()


def test_nothing_that_was_acknowledged_goes_unprocessed_though_the_hub_is_killed(own_hub):
    worker = Worker(own_hub)
    threading.Thread(target=worker.serve_forever, daemon=True).start()
    control = own_hub.stream("__ds/subscriptions/worker")
    wanted = {
        "type": "webhook",
        "pattern": "events/*",
        "webhook": {"url": worker.url},
        "lease_ttl_ms": 1000,
    }
    made = requests.put(control, json=wanted, timeout=5)
    assert made.status_code == 201, made.text
    key = made.json()["webhook"]["signing"]["kid"]

    acknowledged, number = set(), 0
    for _ in range(ROUNDS):
        killer = threading.Timer(worker.chance.uniform(0.1, 0.5), own_hub.kill)
        more, number = publish_until_killed(own_hub, number, killer)
        killer.join()
        acknowledged |= more
        own_hub.start()

    deadline = time.monotonic() + 30
    while not acknowledged <= worker.processed and time.monotonic() < deadline:
        time.sleep(0.1)
    worker.shutdown()
    worker.server_close()
    assert len(acknowledged) > ROUNDS
    assert acknowledged <= worker.processed
    # Each wake fences the earlier ones, even if they failed.
    assert worker.generations == sorted(set(worker.generations))
    view = requests.get(control, timeout=5).json()
    assert view["webhook"]["signing"]["kid"] == key
    assert len(view["streams"]) == 5
