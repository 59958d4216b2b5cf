"""Two hubs on one log, of which one at a time is the owner: subscriptions and relays at each, and a takeover when it is killed."""

import contextlib
import http.server
import json
import queue
import threading
import time

import pytest
import requests

from cluster import ClusterHub, NatsServer

SETTINGS = """
loopback_webhooks = true
[upstream]
allow = ["http://127.0.0.1:*"]
"""
# The lease, the margin before a takeover, and time for the takeover itself.
TAKEOVER_S = 20


class Server(http.server.ThreadingHTTPServer):
    """A webhook that is done at once, for `POST`. A `GET` is an endless event stream of numbers."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.wakes = queue.Queue()
        self.left = threading.Event()
        self.calls = 0

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.wakes.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = b'{"done": true}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self):
        self.server.calls += 1
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        with contextlib.suppress(OSError):
            n = 0
            while True:
                self.wfile.write(b"%d\n" % n)
                self.wfile.flush()
                n += 1
                time.sleep(0.05)
        self.server.left.set()
        self.close_connection = True

    def log_message(self, *_):
        pass


class OwnerHub(ClusterHub):
    """A hub that other hubs reach."""

    def __init__(self, server, config):
        super().__init__(server)
        self.args += ("--config", str(config), "--advertise", f"http://127.0.0.1:{self.port}")

    def subscription(self, method, body=None):
        url = self.url("/streams/__ds/subscriptions/jobs")
        return requests.request(method, url, json=body, timeout=30)

    def publish(self, stream, n):
        headers = {"Stream-Create": "true"}
        answer = requests.post(
            self.url(f"/streams/{stream}"), json={"n": n}, headers=headers, timeout=30
        )
        assert answer.ok, answer.text

    def wait_for_owner(self):
        deadline = time.monotonic() + TAKEOVER_S
        while (answer := self.subscription("GET")).status_code == 503:
            assert answer.headers["Retry-After"] == "1"
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.1)
        return answer


@pytest.fixture
def hubs(tmp_path):
    """The owner, and another hub."""
    config = tmp_path / "headwater.toml"
    config.write_text(SETTINGS)
    with NatsServer() as server, OwnerHub(server, config) as owner:
        assert owner.wait_for_owner().status_code == 404
        with OwnerHub(server, config) as other:
            assert other.wait_for_owner().status_code == 404
            yield owner, other


def test_a_subscription_survives_its_owner_and_each_wake_is_sent_once(hubs):
    owner, other = hubs
    with Server() as worker:
        wanted = {"type": "webhook", "pattern": "jobs/*", "webhook": {"url": worker.url}}
        assert other.subscription("PUT", wanted).status_code == 201
        assert owner.subscription("PUT", wanted).status_code == 200
        other.publish("jobs/a", 1)
        first = worker.wakes.get(timeout=10)
        assert [stream["path"] for stream in first["streams"]] == ["jobs/a"]
        time.sleep(1)
        owner.kill()
        killed = time.monotonic()
        other.publish("jobs/b", 2)
        second = worker.wakes.get(timeout=TAKEOVER_S)
        assert time.monotonic() - killed > 5
        pending = [stream["path"] for stream in second["streams"] if stream["has_pending"]]
        assert pending == ["jobs/b"]
        assert second["generation"] == first["generation"] + 1
        time.sleep(3)
        assert worker.wakes.empty()
        # The hub that was killed returns, and forwards to the new owner.
        owner.start()
        assert owner.wait_for_owner().status_code == 200
        owner.publish("jobs/a", 3)
        assert worker.wakes.get(timeout=10)["generation"] == second["generation"] + 1
        # A hub that is stopped releases the lease.
        other.terminate()
        stopped = time.monotonic()
        assert owner.wait_for_owner().status_code == 200
        assert time.monotonic() - stopped < 5


def test_a_relay_is_joined_and_read_at_each_hub(hubs):
    owner, other = hubs
    with Server() as upstream:
        headers = {
            "Upstream-URL": upstream.url,
            "Upstream-Method": "GET",
            "Idempotency-Key": "one",
        }

        def relay(hub):
            url = hub.url("/relay?keep_for=2")
            return requests.post(url, headers=headers, timeout=30)

        created, joined = relay(other), relay(owner)
        assert (created.status_code, joined.status_code) == (201, 200)
        path = created.headers["Location"].split(str(other.port))[1]
        assert path.split("?")[0] in joined.headers["Location"]
        accept = {"Accept": "application/x-ndjson"}
        with requests.get(other.url(path), headers=accept, stream=True, timeout=30) as reader:
            seen = []
            started = time.monotonic()
            for line in reader.iter_lines():
                seen.append(json.loads(line))
                if len(seen) == 60:
                    break
            # One after the other, as they came.
            assert seen == list(range(60)) and time.monotonic() - started > 1
            assert not upstream.left.is_set()
        # The last reader has left the other hub, so the owner ends the call.
        assert upstream.left.wait(timeout=10)
        assert upstream.calls == 1
