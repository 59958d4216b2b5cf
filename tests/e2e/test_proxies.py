"""The tour behind the reverse proxies of docs/proxies, with the files there."""

import itertools
import json

import pytest
import requests

from proxies import Proxy
from recorder import Recorder, assert_passes_at_once

NAMES = ["nginx", "caddy"]


@pytest.fixture(scope="module")
def sent(tour):
    """A recorder between the proxy and the tour, which records the time of each byte from the tour."""
    with Recorder(tour.port) as recorder:
        yield recorder


@pytest.fixture(scope="module", params=NAMES)
def proxy(request, sent):
    with Proxy(request.param, sent.port) as proxy:
        yield proxy


@pytest.mark.alone
@pytest.mark.parametrize("name", ["ndjson", "sse", "json-seq", "json", "text"])
def test_an_item_passes_within_100_ms(proxy, sent, name):
    assert_passes_at_once(proxy, sent, name)


def test_a_long_stream_passes_whole(proxy):
    response = requests.get(proxy.url("/ticks?count=100000&every_ms=0"), timeout=30)
    items = [json.loads(line)["n"] for line in response.iter_lines()]
    assert items == list(range(1, 100_001))


@pytest.mark.parametrize(
    "name, format",
    # Caddy 2.6, Debian's version, ends a truncated body cleanly. The guide lists the formats that reveal the truncation.
    [("nginx", "ndjson"), *itertools.product(NAMES, ["sse", "json"])],
)
def test_a_stream_that_the_server_cut_is_not_taken_for_a_complete_one(own_tour, name, format):
    with Proxy(name, own_tour.port) as proxy:
        url = proxy.url(f"/ticks?count=1000&every_ms=50&format={format}")
        seen = b""
        is_cut = False
        with requests.get(url, stream=True, timeout=10) as response:
            chunks = response.iter_content(None)
            seen += next(chunks)
            assert b'"n":1' in seen
            own_tour.terminate()
            try:
                seen += b"".join(chunks)
            except requests.exceptions.RequestException:
                is_cut = True
        if name == "nginx":
            assert is_cut
        assert b"headwater:end" not in seen
        assert not seen.rstrip().endswith(b"]")


@pytest.mark.parametrize("name", NAMES)
def test_the_server_notices_that_a_client_has_left(own_tour, name):
    with Proxy(name, own_tour.port) as proxy:
        url = proxy.url("/ticks?count=1000&every_ms=50&format=ndjson")
        with requests.get(url, stream=True, timeout=10) as response:
            assert next(response.iter_content(None))
        own_tour.wait_for_line("/ticks", seconds=10)


def test_a_proxy_that_cuts_silent_bodies_is_kept_content_by_blank_lines(tmp_path):
    from tour import Tour

    log = tmp_path / "app.log"
    log.write_text("")
    patience = [("proxy_read_timeout 60s;", "proxy_read_timeout 2s;")]
    with Tour("--log", str(log)) as tour, Proxy("nginx", tour.port, patience) as proxy:
        silent = proxy.url("/tail?lines=0&format=ndjson")
        with requests.get(silent, stream=True, timeout=20) as response:
            with pytest.raises(requests.exceptions.RequestException):
                list(response.iter_lines())
        with requests.get(f"{silent}&heartbeat=1", stream=True, timeout=20) as response:
            lines = response.iter_lines(chunk_size=1)
            # Longer than the proxy's timeout.
            assert [next(lines) for _ in range(4)] == [b""] * 4
            log.write_text("here\n")
            texts = (json.loads(line)["text"] for line in lines if line)
            assert next(texts) == "here"
