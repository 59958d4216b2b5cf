"""/tail follows a log file across rotation and truncation."""

import json

import pytest
import requests

from tour import Tour


@pytest.fixture
def log(tmp_path):
    return tmp_path / "app.log"


@pytest.fixture
def lines(log):
    """An iterator over the texts that /tail?lines=2 sends."""
    log.write_text("".join(f"old {n}\n" for n in range(1, 6)))
    with Tour("--log", str(log)) as tour:
        url = tour.url("/tail?lines=2")
        with requests.get(url, stream=True, timeout=15) as response:
            assert response.status_code == 200
            yield (json.loads(line)["text"] for line in response.iter_lines(chunk_size=1))


def append(log, text):
    with log.open("a") as file:
        file.write(text)


def test_it_gives_the_last_lines_and_then_what_is_added(log, lines):
    assert [next(lines), next(lines)] == ["old 4", "old 5"]
    append(log, "new 1\n")
    assert next(lines) == "new 1"
    append(log, "half a ")
    append(log, "line\n")
    assert next(lines) == "half a line"


def test_it_goes_on_in_the_new_file_after_a_rotation(log, lines):
    assert [next(lines), next(lines)] == ["old 4", "old 5"]
    log.rename(log.with_suffix(".log.1"))
    log.write_text("after the rotation\n")
    assert next(lines) == "after the rotation"
    append(log, "and on\n")
    assert next(lines) == "and on"


def test_it_goes_on_after_the_file_was_cut_to_nothing(log, lines):
    assert [next(lines), next(lines)] == ["old 4", "old 5"]
    log.write_text("")
    append(log, "fresh\n")
    assert next(lines) == "fresh"


def test_without_a_log_file_it_says_how_to_name_one(tour):
    response = requests.get(tour.url("/tail"), timeout=10)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "--log" in response.text
