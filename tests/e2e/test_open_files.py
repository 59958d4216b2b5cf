"""A hub with few open files to spare."""

import os
import re
import resource
import socket
import subprocess
from http.client import HTTPConnection

import pytest

from programs import binary

OPEN_FILES = 64
IDLE = 100


# Enough for the storage to create new files.
LARGE = "x" * (4 << 20)


@pytest.fixture
def hub(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))

    command = [binary("HEADWATER_CLI"), "serve", "-l", "127.0.0.1:0", "-d", tmp_path / "data"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=limit)
    try:
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(connection, method, path, body=None):
    connection.request(method, path, body=body, headers={"Content-Type": "text/plain"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_idle_peers_leave_files_to_the_storage(hub):
    pid, port = hub
    writer = HTTPConnection("127.0.0.1", port, timeout=60)
    assert ask(writer, "PUT", "/streams/before") == 201
    idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(IDLE)]
    for n in range(40):
        assert ask(writer, "PUT", f"/streams/{n}", "first") == 201
        assert ask(writer, "POST", f"/streams/{n}", LARGE) == 204
        assert ask(writer, "GET", f"/streams/{n}?live=false") == 200
    assert len(os.listdir(f"/proc/{pid}/fd")) < OPEN_FILES
    assert ask(writer, "GET", "/readyz") == 200
    for connection in idle:
        connection.close()
    late = HTTPConnection("127.0.0.1", port, timeout=60)
    assert ask(late, "POST", "/streams/before", "late") == 204
