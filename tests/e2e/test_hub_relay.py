"""Relays of a hub: read by the public clients of the protocol, and across kills of the hub."""

import concurrent.futures
import contextlib
import http.server
import json
import queue
import threading
import time
from urllib.parse import urlsplit

import pytest
import requests
from durable_streams import stream

from hub import Hub
from programs import run_node

TOKENS = 50
WHOLE = "".join(f"id: {n}\ndata: token {n}\n\n" for n in range(TOKENS)) + "data: [DONE]\n\n"


class Upstream:
    """Sends tokens as events, slowly, to a `POST`. A `GET` is a feed that resumes after the last event id and breaks
    from time to time. Counts its calls."""

    def __init__(self):
        self.calls = queue.Queue()
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, first, last):
                upstream.calls.put((self.command, self.headers.get("Last-Event-ID")))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                with contextlib.suppress(OSError):
                    for n in range(first, last):
                        self.chunk(f"id: {n}\ndata: token {n}\n\n")
                        time.sleep(0.02)
                    if last == TOKENS:
                        self.chunk("data: [DONE]\n\n")
                        self.wfile.write(b"0\r\n\r\n")
                self.close_connection = True

            def chunk(self, text):
                data = text.encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.answer(0, TOKENS)

            def do_GET(self):
                seen = self.headers.get("Last-Event-ID")
                # The last event is repeated.
                first = int(seen) if seen else 0
                self.answer(first, min(first + 20, TOKENS))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


ALLOWED = ("--allow-upstream", "http://127.0.0.1:*")


@pytest.fixture(scope="module", params=["memory", "disk"])
def hub(request, tmp_path_factory):
    data = tmp_path_factory.mktemp("hub") if request.param == "disk" else None
    with Hub(data, *ALLOWED) as hub:
        yield hub


@pytest.fixture
def own_hub(tmp_path):
    with Hub(tmp_path / "data", *ALLOWED) as hub:
        yield hub


@pytest.fixture
def upstream():
    with Upstream() as upstream:
        yield upstream


def relay(hub, upstream, method="POST", query="", expected=201):
    """Starts a relay. Returns its signed URL."""
    headers = {"Upstream-URL": upstream.url, "Upstream-Method": method}
    answer = requests.post(hub.url(f"/relay{query}"), headers=headers, timeout=20)
    assert answer.status_code == expected, answer.text
    assert answer.headers["Upstream-Content-Type"] == "text/event-stream"
    return answer.headers["Location"]


def ended(url):
    """Waits until a relay is closed. Returns its messages and its close reason."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            answer = requests.get(url, timeout=10)
            if answer.status_code != 503:
                assert answer.status_code == 200, answer.text
                if answer.headers.get("Stream-Closed") == "true":
                    error = answer.headers.get("Stream-Error")
                    return answer.text, error and json.loads(error)
        time.sleep(0.05)
    raise AssertionError(f"{url} is not closed")


def test_the_javascript_client_reads_a_relay_by_its_url_in_every_mode(hub, upstream):
    url = relay(hub, upstream)
    run = run_node("relay.mjs", url)
    assert run.returncode == 0, run.stdout + run.stderr
    seen = json.loads(run.stdout)
    assert seen["whole"] == WHOLE
    assert seen["longPoll"]["text"] == WHOLE
    # A value of SSE data has no line end after its last line.
    assert seen["sse"]["text"].replace("\n", "") == WHOLE.replace("\n", "")
    assert upstream.calls.qsize() == 1


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_the_python_client_follows_a_relay_by_its_url(hub, upstream, live):
    url = relay(hub, upstream)
    with stream(url, offset="-1", live=live) as response:
        text = ""
        # This client reads on after the end of a stream.
        for piece in response.iter_text():
            text += piece
            if "[DONE]" in text:
                break
    assert text.replace("\n", "") == WHOLE.replace("\n", "")
    with stream(url, live=False) as response:
        assert response.read_text() == WHOLE
    assert upstream.calls.qsize() == 1


def test_many_who_ask_at_once_share_one_call(hub, upstream):
    query = f"?key={time.time()}"
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        headers = {"Upstream-URL": upstream.url, "Upstream-Method": "POST"}
        ask = lambda _: requests.post(hub.url(f"/relay{query}"), headers=headers, timeout=20)
        answers = list(pool.map(ask, range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({urlsplit(answer.headers["Location"]).path for answer in answers}) == 1
    assert ended(answers[0].headers["Location"]) == (WHOLE, None)
    assert upstream.calls.qsize() == 1


def test_a_hub_that_is_killed_in_the_middle_says_so_and_does_not_call_again(own_hub, upstream):
    url = relay(own_hub, upstream, query="?key=k&stream=answer")
    while "token 5" not in requests.get(url, timeout=10).text:
        time.sleep(0.02)
    own_hub.kill()
    own_hub.start()
    text, error = ended(url)
    assert WHOLE.startswith(text) and "token 5" in text
    assert error["type"] == "urn:headwater:interrupted"
    relay(own_hub, upstream, query="?key=k&stream=answer", expected=200)
    assert upstream.calls.qsize() == 1


def test_a_feed_goes_on_over_breaks_and_kills_with_every_event_once(own_hub, upstream):
    url = relay(own_hub, upstream, method="GET")
    for n in (5, 15, 25, 35):
        while f"token {n}\n" not in requests.get(url, timeout=10).text:
            time.sleep(0.02)
        own_hub.kill()
        own_hub.start()
        wait_until_ready(url)
    assert ended(url) == (WHOLE, None)
    calls = [upstream.calls.get() for _ in range(upstream.calls.qsize())]
    assert len(calls) >= 5
    assert calls[0] == ("GET", None) and all(seen for _, seen in calls[1:])


def wait_until_ready(url):
    """The keys that sign URLs are loaded in the background."""
    deadline = time.monotonic() + 10
    while requests.get(url, timeout=10).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_hub_that_is_told_to_end_closes_what_it_relays(tmp_path, upstream):
    with Hub(tmp_path / "data", *ALLOWED) as hub:
        url = relay(hub, upstream)
        while "token 5" not in requests.get(url, timeout=10).text:
            time.sleep(0.02)
        assert hub.terminate() == 0
        hub.start()
        text, error = ended(url)
        assert WHOLE.startswith(text) and "token 5" in text
        assert error["type"] == "urn:headwater:interrupted"
