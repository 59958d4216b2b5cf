"""The tour read by curl."""

import json
import signal
import subprocess

import httpx
import pytest
import requests

from arrivals import assert_spaced, timed
from hub import Hub


def run(curl, *args):
    return subprocess.run([curl, "-sS", *args], capture_output=True, timeout=30)


def test_items_come_as_they_are_sent(curl, tour):
    url = tour.url("/ticks?count=4&every_ms=1000")
    with subprocess.Popen([curl, "-sSN", url], stdout=subprocess.PIPE) as process:
        arrivals = timed(process.stdout, 4)
        assert process.wait(timeout=10) == 0
    assert [json.loads(line)["n"] for _, line in arrivals] == [1, 2, 3, 4]
    assert_spaced(arrivals, 1)


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2-prior-knowledge"])
def test_every_version_of_http_gets_the_whole_stream(curl, tour, version):
    result = run(curl, version, tour.url("/ticks?count=1000&every_ms=0"))
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["n"] for line in result.stdout.splitlines()] == list(range(1, 1001))


def test_a_server_that_dies_is_a_cut_body(curl, own_tour):
    url = own_tour.url("/ticks?count=100&every_ms=100")
    with subprocess.Popen([curl, "-sSN", url], stdout=subprocess.PIPE) as process:
        timed(process.stdout, 3)
        own_tour.kill()
        process.stdout.read()
        # "Partial file" and "failure in receiving network data": the curl manual's exit codes.
        assert process.wait(timeout=10) in (18, 56)


def test_a_shutdown_is_a_cut_body_with_a_time_to_come_back(curl, own_tour):
    url = own_tour.url("/ticks?count=100&every_ms=100&format=sse")
    with subprocess.Popen([curl, "-sSN", url], stdout=subprocess.PIPE) as process:
        timed(process.stdout, 3)
        assert own_tour.terminate() == 0
        farewell = process.stdout.read().splitlines()
        assert any(line.startswith(b"retry: ") for line in farewell), farewell
        assert process.wait(timeout=10) in (18, 56)


def test_a_hangup_stops_no_server_that_was_started_without_a_terminal(curl, own_tour):
    own_tour.process.send_signal(signal.SIGHUP)
    own_tour.wait_for_line("SIGHUP is ignored")
    result = run(curl, own_tour.url("/ticks?count=3&format=ndjson"))
    assert result.stdout.count(b"\n") == 3
    assert own_tour.terminate() == 0


def test_head_of_a_stream_names_no_length(curl):
    with Hub() as hub:
        hub.append(hub.create("a"), 1, 2, 3)
        for version in ("--http1.1", "--http2-prior-knowledge"):
            result = run(curl, "-I", version, hub.stream("a"))
            head = result.stdout.lower()
            assert b" 200" in head and b"stream-next-offset: " in head, head
            assert b"content-length" not in head, head
        with httpx.Client(http1=False, http2=True) as http:
            assert [http.head(hub.stream("a")).status_code for _ in range(3)] == [200] * 3
            assert http.get(hub.stream("a")).json() == [1, 2, 3]
        with requests.Session() as http:
            assert http.head(hub.stream("a"), timeout=10).status_code == 200
            assert http.get(hub.stream("a"), timeout=10).json() == [1, 2, 3]


def test_head_gets_the_headers(curl, tour):
    result = run(curl, "-I", tour.url("/ticks?count=3"))
    assert result.returncode == 0
    assert b"application/x-ndjson" in result.stdout
