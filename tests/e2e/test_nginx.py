"""The tour behind nginx with its default settings."""

import json
import time

import pytest
import requests

from proxies import PLAIN_NGINX, Proxy
from recorder import Recorder, assert_passes_at_once


@pytest.fixture(scope="module")
def sent(tour):
    """A recorder between nginx and the tour, which records the time of each byte from the tour."""
    with Recorder(tour.port) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def nginx(sent):
    with Proxy("nginx", sent.port, site=PLAIN_NGINX) as nginx:
        yield nginx


@pytest.mark.alone
@pytest.mark.parametrize("name", ["ndjson", "sse", "json-seq", "json", "text"])
def test_an_item_passes_within_100_ms(nginx, sent, name):
    assert_passes_at_once(nginx, sent, name)


def test_raw_text_passes_as_it_is_sent(nginx):
    with requests.get(nginx.url("/text"), stream=True, timeout=10) as response:
        times = []
        for _ in response.iter_content(None):
            times.append(time.monotonic())
            if len(times) == 3:
                break
    assert all(0.5 < after - before < 1.5 for before, after in zip(times, times[1:])), times


def test_a_long_stream_passes_whole(nginx):
    response = requests.get(nginx.url("/ticks?count=100000&every_ms=0"), timeout=30)
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    items = [json.loads(line)["n"] for line in response.iter_lines()]
    assert items == list(range(1, 100_001))


def test_a_stream_that_the_server_cut_is_not_taken_for_a_complete_one(own_tour):
    with Proxy("nginx", own_tour.port, site=PLAIN_NGINX) as nginx:
        url = nginx.url("/ticks?count=100&every_ms=50&format=ndjson")
        with requests.get(url, stream=True, timeout=10) as response:
            lines = response.iter_lines(chunk_size=1)
            assert json.loads(next(lines))["n"] == 1
            own_tour.terminate()
            with pytest.raises(requests.exceptions.RequestException):
                list(lines)
