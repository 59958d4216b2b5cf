"""The tour behind nginx with the settings that it has by default."""

import json
import socket
import subprocess
import time

import pytest
import requests

from programs import program
from recorder import Recorder

# Nothing about buffering, HTTP versions or time-outs: `proxy_pass` and no more.
CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def sent(tour):
    """What stands between nginx and the tour, and notes when each byte left the tour."""
    with Recorder(tour.port) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def nginx(sent, tmp_path_factory):
    """The address of an nginx in front of the tour."""
    folder = tmp_path_factory.mktemp("nginx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, upstream=sent.port))
    process = subprocess.Popen(
        [program("nginx"), "-p", folder, "-c", config, "-e", folder / "error.log"]
    )
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        # A quick shutdown, which ends the workers too.
        process.terminate()
        process.wait(timeout=10)


def wait_for(port, process):
    for _ in range(100):
        assert process.poll() is None, "nginx did not start"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx does not answer")


@pytest.mark.parametrize("name", ["ndjson", "sse", "json-seq", "json", "text"])
def test_an_item_passes_within_100_ms(nginx, sent, name):
    # Spaced so far apart that an item which waits for the next one shows.
    url = f"{nginx}/ticks?count=4&every_ms=300&format={name}"
    sent.sent.clear()
    arrived = {}
    with requests.get(url, stream=True, timeout=10) as response:
        seen = b""
        for chunk in response.iter_content(None):
            now = time.monotonic()
            seen += chunk
            for n in range(1, 5):
                if b'"n":%d,' % n in seen:
                    arrived.setdefault(n, now)
    assert sorted(arrived) == [1, 2, 3, 4]
    delays = [at - sent.sent_at(b'"n":%d,' % n) for n, at in arrived.items()]
    assert max(delays) < 0.1, delays


def test_raw_text_passes_as_it_is_sent(nginx):
    with requests.get(f"{nginx}/text", stream=True, timeout=10) as response:
        times = []
        for _ in response.iter_content(None):
            times.append(time.monotonic())
            if len(times) == 3:
                break
    assert all(0.5 < after - before < 1.5 for before, after in zip(times, times[1:])), times


def test_a_long_stream_passes_whole(nginx):
    response = requests.get(f"{nginx}/ticks?count=100000&every_ms=0", timeout=30)
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    items = [json.loads(line)["n"] for line in response.iter_lines()]
    assert items == list(range(1, 100_001))
