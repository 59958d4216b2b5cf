"""The tour's responses: formats, negotiation, headers, errors."""

import http.client
import json
import time

import pytest
import requests

CONTENT_TYPES = {
    "ndjson": "application/x-ndjson",
    "sse": "text/event-stream",
    "json-seq": "application/json-seq",
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
}

TICK_FIELDS = {"n", "symbol", "price", "note"}


def ticks(tour, accept=None, **query):
    headers = {"Accept": accept}  # `None` removes the default of requests.
    url = tour.url("/ticks")
    return requests.get(url, params={"every_ms": 0, **query}, headers=headers, timeout=10)


def test_the_root_answers_a_json_greeting(tour):
    response = requests.get(tour.url("/"), timeout=10)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    assert response.json()["message"] == "Hello from Headwater"


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_every_format_has_the_headers_that_keep_proxies_from_buffering(tour, name):
    response = ticks(tour, format=name)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == CONTENT_TYPES[name]
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "accept" in response.headers["Vary"].lower()


def test_ndjson_is_one_json_value_a_line(tour):
    response = ticks(tour, count=10)
    assert response.text.endswith("\n")
    items = [json.loads(line) for line in response.text.splitlines()]
    assert [item["n"] for item in items] == list(range(1, 11))
    assert all(TICK_FIELDS <= item.keys() for item in items)


def test_json_is_one_array_that_any_parser_reads(tour):
    assert [item["n"] for item in json.loads(ticks(tour, format="json", count=10).content)] == list(
        range(1, 11)
    )


def test_json_seq_frames_each_item_with_a_record_separator(tour):
    body = ticks(tour, format="json-seq", count=3).content
    first, *records = body.split(b"\x1e")
    assert first == b""
    assert all(record.endswith(b"\n") for record in records)
    assert [json.loads(record)["n"] for record in records] == [1, 2, 3]


def test_a_complete_sse_stream_says_so(tour):
    body = ticks(tour, format="sse", count=3).text
    assert body.endswith('event: headwater:end\nid: headwater:end\ndata: {"items":3}\n\n')
    assert body.count("data: ") == 4
    assert "id: 3\n" in body


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "ndjson"),
        ("*/*", "ndjson"),
        ("application/*", "ndjson"),
        ("text/event-stream", "sse"),
        ("TEXT/Event-Stream", "sse"),
        ("text/event-stream, */*;q=0.1", "sse"),
        ("application/jsonl", "ndjson"),
        ("application/json", "json"),
        ("application/json-seq", "json-seq"),
        ("text/plain", "text"),
        ("application/json;q=0.5, text/event-stream;q=0.9", "sse"),
        ("application/json;q=0.9, text/event-stream;q=0.5", "json"),
        ("text/event-stream;q=0, application/json", "json"),
        ("text/html, application/json;q=0.001", "json"),
        ("text/event-stream ; q=0.2 , application/json-seq ; q=0.3", "json-seq"),
    ],
)
def test_the_client_chooses_the_format_by_accept(tour, accept, expected):
    # http.client adds no header by itself.
    connection = http.client.HTTPConnection("127.0.0.1", tour.port, timeout=10)
    headers = {} if accept is None else {"Accept": accept}
    connection.request("GET", "/ticks?count=1&every_ms=0", headers=headers)
    response = connection.getresponse()
    assert response.status == 200
    content_type = response.getheader("Content-Type")
    if accept == "application/jsonl":
        assert content_type in ("application/jsonl", "application/x-ndjson")
    else:
        assert content_type == CONTENT_TYPES[expected]
    connection.close()


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_the_query_wins_over_accept(tour, name):
    response = ticks(tour, accept="text/html", format=name)
    assert response.headers["Content-Type"] == CONTENT_TYPES[name]


@pytest.mark.parametrize("accept", ["text/html", "image/*", "*/*;q=0", "application/xml;q=1.0"])
def test_nothing_acceptable_is_406_with_the_list_of_what_there_is(tour, accept):
    response = ticks(tour, accept=accept)
    assert response.status_code == 406
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "accept" in response.headers["Vary"].lower()
    assert response.json()["status"] == 406
    for content_type in ("text/event-stream", "application/x-ndjson", "application/json"):
        assert content_type in response.text


def test_a_format_that_is_not_there_is_a_problem_that_lists_what_there_is(tour):
    response = ticks(tour, format="xml")
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "json-seq" in response.text


def test_head_answers_at_once_with_the_same_headers_and_no_body(tour):
    start = time.monotonic()
    response = requests.head(tour.url("/ticks?count=100&every_ms=1000&format=sse"), timeout=10)
    assert time.monotonic() - start < 3
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.content == b""


def test_a_stream_that_was_read_to_its_end_answers_204(tour):
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "headwater:end"}
    response = requests.get(tour.url("/ticks?count=3"), headers=headers, timeout=10)
    assert response.status_code == 204
    assert response.content == b""


def test_the_last_event_id_resumes_with_what_follows(tour):
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "7"}
    response = requests.get(tour.url("/ticks?count=10&every_ms=0"), headers=headers, timeout=10)
    ids = [line[4:] for line in response.text.splitlines() if line.startswith("id: ")]
    assert ids == ["8", "9", "10", "headwater:end"]


def test_a_bad_parameter_is_a_client_error(tour):
    response = ticks(tour, count="many")
    assert 400 <= response.status_code < 500


def test_the_system_stream_has_real_figures(tour):
    with requests.get(tour.url("/system?every_ms=200"), stream=True, timeout=10) as response:
        lines = response.iter_lines()
        items = [json.loads(next(lines)) for _ in range(3)]
    flat = json.dumps(items[0]).lower()
    assert all(word in flat for word in ("cpu", "mem", "disk", "net")), items[0]
    # Time and counters change: a machine's state is never the same twice.
    assert items[0] != items[1] != items[2]


def test_text_sends_a_message_a_second(tour):
    with requests.get(tour.url("/text"), stream=True, timeout=10) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        assert response.headers["X-Accel-Buffering"] == "no"
        times = []
        for _ in response.iter_content(None):
            times.append(time.monotonic())
            if len(times) == 3:
                break
    assert all(0.5 < after - before < 1.5 for before, after in zip(times, times[1:])), times
