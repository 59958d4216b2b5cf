"""The tour read by Python's clients: requests, aiohttp, httpx-sse."""

import asyncio
import json

import aiohttp
import httpx
import httpx_sse
import pytest
import requests

from arrivals import assert_spaced, timed


def test_requests_reads_16_bytes_at_a_time(tour):
    url = tour.url("/ticks?count=50&every_ms=0")
    with requests.get(url, stream=True, timeout=10) as response:
        pieces = list(response.iter_content(16))
    assert all(0 < len(piece) <= 16 for piece in pieces)
    items = [json.loads(line) for line in b"".join(pieces).splitlines()]
    assert [item["n"] for item in items] == list(range(1, 51))


def test_requests_gets_each_line_as_it_is_sent(tour):
    url = tour.url("/ticks?count=4&every_ms=1000")
    with requests.get(url, stream=True, timeout=10) as response:
        arrivals = timed(response.iter_lines(), 4)
    assert [json.loads(line)["n"] for _, line in arrivals] == [1, 2, 3, 4]
    assert_spaced(arrivals, 1)


def test_requests_sees_that_a_stream_was_cut(own_tour):
    url = own_tour.url("/ticks?count=100&every_ms=50")
    with requests.get(url, stream=True, timeout=10) as response:
        lines = response.iter_lines(chunk_size=1)
        assert json.loads(next(lines))["n"] == 1
        own_tour.kill()
        with pytest.raises(requests.exceptions.RequestException):
            list(lines)


@pytest.mark.parametrize("version", ["ndjson", "json-seq"])
def test_aiohttp_gets_each_line_as_it_is_sent(tour, version):
    async def read():
        loop = asyncio.get_running_loop()
        arrivals = []
        async with aiohttp.ClientSession() as session:
            url = tour.url(f"/ticks?count=4&every_ms=1000&format={version}")
            async with session.get(url) as response:
                async for line in response.content:
                    arrivals.append((loop.time(), json.loads(line.strip(b"\x1e\n"))))
        return arrivals

    arrivals = asyncio.run(read())
    assert [item["n"] for _, item in arrivals] == [1, 2, 3, 4]
    assert_spaced(arrivals, 1)


def test_aiohttp_sees_that_a_stream_was_cut(own_tour):
    async def read():
        async with aiohttp.ClientSession() as session:
            async with session.get(own_tour.url("/ticks?count=100&every_ms=50")) as response:
                await response.content.readline()
                own_tour.kill()
                await response.content.read()

    with pytest.raises(aiohttp.ClientError):
        asyncio.run(read())


def test_httpx_sse_gets_each_event_as_it_is_sent(tour):
    with httpx.Client(timeout=10) as client:
        url = tour.url("/ticks?count=4&every_ms=1000")
        with httpx_sse.connect_sse(client, "GET", url) as source:
            arrivals = timed(source.iter_sse(), 5)
    events = [event for _, event in arrivals]
    assert [event.id for event in events] == ["1", "2", "3", "4", "headwater:end"]
    assert [event.json()["n"] for event in events[:4]] == [1, 2, 3, 4]
    assert events[4].event == "headwater:end"
    assert events[4].json() == {"items": 4}
    assert_spaced(arrivals[:4], 1)


def test_httpx_sse_resumes_after_the_last_id(tour):
    with httpx.Client(timeout=10) as client:
        url = tour.url("/ticks?count=6&every_ms=0")
        headers = {"Last-Event-ID": "4"}
        with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
            ids = [event.id for event in source.iter_sse()]
    assert ids == ["5", "6", "headwater:end"]
