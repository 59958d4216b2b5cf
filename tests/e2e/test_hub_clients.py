"""The public clients of the Durable Streams protocol against the hub: npm's `@durable-streams/client` and PyPI's
`durable-streams`."""

import concurrent.futures
import itertools
import json
import time
import uuid

import durable_streams
import pytest
from durable_streams import DurableStream, StreamNotFoundError, stream

from hub import lines
from programs import run_node


@pytest.fixture
def url(hub):
    """The URL of a stream that doesn't exist yet."""
    return hub.stream(f"clients/{uuid.uuid4()}")


def test_the_javascript_client_writes_exactly_once_and_reads_in_every_mode(url):
    run = run_node("durable_streams.mjs", url)
    assert run.returncode == 0, run.stdout + run.stderr
    seen = json.loads(run.stdout)
    assert seen["errors"] == []
    assert seen["nextEpoch"] == seen["epoch"] + 1
    assert seen["sse"] == seen["longPoll"] == list(range(1001))
    assert seen["whole"] == list(range(1002))
    assert seen["resumed"] == []
    assert seen["head"]["exists"] and seen["head"]["streamClosed"]
    assert seen["gone"] == 404


def test_the_python_client_creates_appends_reads_and_deletes(url):
    with DurableStream.create(url, content_type="application/json") as handle:
        for n in range(50):
            handle.append({"n": n})
        tail = handle.head().offset
        with handle.stream(live=False) as response:
            assert [item["n"] for item in response.read_json()] == list(range(50))
            assert response.offset == tail
        handle.append({"n": 50}, seq="a")
        with pytest.raises(durable_streams.SeqConflictError):
            handle.append({"n": 51}, seq="a")
        with handle.stream(offset=tail, live=False) as response:
            assert response.read_json() == [{"n": 50}]
        handle.delete()
        with pytest.raises(StreamNotFoundError):
            handle.head()


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_the_python_client_follows_live(url, live):
    with DurableStream.create(url, content_type="application/json") as handle:
        handle.append({"n": 0})

        def follow():
            with stream(url, offset="-1", live=live) as response:
                return [item["n"] for item in itertools.islice(response.iter_json(), 30)]

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            following = pool.submit(follow)
            for n in range(1, 30):
                handle.append({"n": n})
                time.sleep(0.01)
            assert following.result(timeout=30) == list(range(30))


def test_the_python_client_appends_once_what_it_repeats(url):
    producer = {"Producer-Id": "till", "Producer-Epoch": "0"}
    DurableStream.create(url, content_type="application/json").close()
    for seq in (0, 1, 1, 2, 2, 2):
        headers = producer | {"Producer-Seq": str(seq)}
        with DurableStream(url, content_type="application/json", headers=headers) as handle:
            handle.append({"seq": seq})
    assert lines(url) == [{"seq": 0}, {"seq": 1}, {"seq": 2}]


def test_the_python_client_reads_bytes_as_they_were_written(url):
    written = bytes(range(256)) * 100
    with DurableStream.create(url, content_type="application/octet-stream") as handle:
        handle.append(written[:1000])
        handle.append(written[1000:])
        with handle.stream(live=False) as response:
            assert response.read_bytes() == written
