"""A hub with a full disk: deleting streams frees space while it runs."""

import os
import re
import subprocess
import time
from http.client import HTTPConnection

import pytest

from programs import binary

# This takes a few seconds, and more with an unoptimised binary beside other tests.
PATIENCE = 60

MIB = 1 << 20
CHUNK = "x" * MIB


@pytest.fixture
def disk(tmp_path):
    """A separate file system, small enough to be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={400 * MIB}", "headwater-test", folder]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def port(disk, tmp_path):
    config = tmp_path / "headwater.toml"
    config.write_text(f"reserve_bytes = {128 * MIB}\n")
    command = [binary("HEADWATER_CLI"), "serve", "-l", "127.0.0.1:0"]
    command += ["-d", disk / "data", "-c", config]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(connection, method, path, body=None):
    connection.request(method, path, body=body, headers={"Content-Type": "text/plain"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def taken(folder):
    bytes = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            try:
                bytes += os.stat(os.path.join(parent, file)).st_blocks * 512
            except FileNotFoundError:
                pass
    return bytes


def within(seconds, done):
    started = time.monotonic()
    while not done():
        assert time.monotonic() - started < seconds
        time.sleep(0.1)


def test_deleting_streams_frees_a_full_disk(disk, port):
    hub = HTTPConnection("127.0.0.1", port, timeout=60)
    streams = [f"/streams/{name}" for name in "abcd"]
    for stream in streams:
        assert ask(hub, "PUT", stream) == 201

    # A journal whose messages are in tables by now may still be deleted, which frees some space.
    def is_full():
        status = 204
        while status == 204:
            for stream in streams:
                status = ask(hub, "POST", stream, CHUNK)
        assert status == 507
        return ask(hub, "GET", "/readyz") == 503

    within(PATIENCE, is_full)
    full = taken(disk)
    for stream in streams[1:]:
        assert ask(hub, "DELETE", stream) == 204
    within(PATIENCE, lambda: ask(hub, "POST", streams[0], "small") == 204)
    within(PATIENCE, lambda: taken(disk) < full / 2)
    assert ask(hub, "GET", "/readyz") == 200
    assert ask(hub, "GET", f"{streams[0]}?live=false") == 200


def test_an_idle_hub_gives_back_what_was_deleted(disk, port):
    hub = HTTPConnection("127.0.0.1", port, timeout=60)
    streams = [f"/streams/{name}" for name in "abcd"]
    for stream in streams:
        assert ask(hub, "PUT", stream) == 201
        for _ in range(40):
            assert ask(hub, "POST", stream, CHUNK) == 204
    assert taken(disk) > 150 * MIB
    for stream in streams:
        assert ask(hub, "DELETE", stream) == 204
    within(PATIENCE, lambda: taken(disk) < 16 * MIB)
