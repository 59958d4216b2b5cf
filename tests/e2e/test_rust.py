"""The tour read by Headwater's own clients as users run them: the examples and the command line."""

import json
import subprocess

import pytest

from arrivals import assert_spaced, timed
from programs import binary


@pytest.fixture(params=["HEADWATER_TOUR_CLIENT", "HEADWATER_TOUR_CLIENT_BLOCKING"])
def client(request):
    return binary(request.param)


def run(*command):
    return subprocess.run(command, capture_output=True, timeout=30, text=True)


@pytest.mark.parametrize("name", ["ndjson", "sse", "json-seq", "json"])
def test_an_example_client_prints_every_item(client, tour, name):
    result = run(client, tour.url(f"/ticks?count=5&every_ms=20&format={name}"))
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 5, result.stdout


def test_an_example_client_fails_without_a_server(client, own_tour):
    own_tour.kill()
    result = run(client, own_tour.url("/ticks"))
    assert result.returncode == 1
    assert result.stderr.strip()


def test_an_example_client_fails_when_the_stream_is_cut(client, own_tour):
    url = own_tour.url("/ticks?count=100&every_ms=50&format=ndjson")
    with subprocess.Popen([client, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        timed(process.stdout, 3)
        own_tour.kill()
        _, error = process.communicate(timeout=20)
        assert process.returncode == 1
        assert error.strip()


def test_get_prints_each_item_as_it_comes(cli, tour):
    url = tour.url("/ticks?count=4&every_ms=1000")
    with subprocess.Popen([cli, "get", url], stdout=subprocess.PIPE) as process:
        arrivals = timed(process.stdout, 4)
        assert process.wait(timeout=10) == 0
    assert [json.loads(line)["n"] for _, line in arrivals] == [1, 2, 3, 4]
    assert_spaced(arrivals, 1)


def test_get_leaves_after_the_items_that_it_was_told_to_read(cli, tour):
    result = run(cli, "get", "--max-items", "2", tour.url("/system?every_ms=100"))
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_get_writes_to_a_file(cli, tour, tmp_path):
    output = tmp_path / "ticks.ndjson"
    result = run(cli, "get", "--output", output, tour.url("/ticks?count=100&every_ms=0"))
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert [json.loads(line)["n"] for line in output.read_text().splitlines()] == list(range(1, 101))


def test_get_with_raw_gives_the_bytes_as_they_come(cli, tour):
    path = "/ticks?count=100&every_ms=0&format=json-seq"
    result = run(cli, "get", "--raw", tour.url(path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\x1e") == 100


@pytest.mark.parametrize(
    ("args", "path", "code"),
    [
        ([], "/tail", 4),
        ([], "/nowhere", 4),
        (["-H", "Accept: text/html"], "/ticks", 4),
        (["--no-such-option"], "/ticks", 2),
        (["--idle-timeout", "300ms"], "/ticks?count=2&every_ms=5000&format=ndjson", 5),
    ],
)
def test_get_says_by_its_exit_code_what_went_wrong(cli, tour, args, path, code):
    result = run(cli, "get", *args, tour.url(path))
    assert result.returncode == code, result.stderr
    assert result.stderr.strip()


def test_get_reports_a_missing_server_by_its_exit_code(cli, own_tour):
    own_tour.kill()
    result = run(cli, "get", own_tour.url("/ticks"))
    assert result.returncode == 1, result.stderr


def test_get_says_by_its_exit_code_that_the_stream_was_cut(cli, own_tour):
    url = own_tour.url("/ticks?count=100&every_ms=50&format=ndjson")
    with subprocess.Popen([cli, "get", url], stdout=subprocess.PIPE) as process:
        timed(process.stdout, 3)
        own_tour.kill()
        process.stdout.read()
        assert process.wait(timeout=20) == 3


def test_get_resumes_with_nothing_lost_or_doubled(cli, own_tour):
    url = own_tour.url("/ticks?count=30&every_ms=50&format=sse")
    with subprocess.Popen([cli, "get", "--reconnect", url], stdout=subprocess.PIPE) as process:
        seen = [json.loads(line)["n"] for _, line in timed(process.stdout, 5)]
        own_tour.kill()
        own_tour.start()
        seen += [json.loads(line)["n"] for line in process.stdout]
        assert process.wait(timeout=20) == 0
    assert seen == list(range(1, 31))
