"""A hub under attack: its resource use, and the effect on other clients.

The attacks run one by one, then all at once for HEADWATER_SOAK seconds, by default 15. For a longer run, on an
otherwise idle machine:

    HEADWATER_CLI=target/release/headwater HEADWATER_SOAK=600 pytest tests/e2e/test_attacks.py -s
"""

import collections
import concurrent.futures
import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

import pytest

import attacks
from attacks import ATTACKS, BODY, JSON, MIB, ask
from hub import Hub
from programs import binary

pytestmark = pytest.mark.alone

SOAK = float(os.environ.get("HEADWATER_SOAK", "15"))

# The maximum memory of a hub at its default limits with few connections: see docs/operations.md.
MOST_MEMORY = 1500 * MIB

# Maximum seconds for nearly every request of other clients. A debug build is many times slower, and other tests run
# before this one, so it applies to half of the requests there.
QUICK = 0.1
IS_DEBUG = "release" not in binary("HEADWATER_CLI").parts


class Cli(Hub):
    """`headwater serve` with its default limits."""

    program = "HEADWATER_CLI"
    command = ("serve",)
    ready = "listens on http://127.0.0.1:"

    def __init__(self, data):
        super().__init__(data)

    def status(self, field):
        """A size in `/proc/PID/status`, in bytes."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(field)

    def most_memory(self):
        return self.status("VmHWM")

    def forget_most_memory(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def cpu(self):
        """The CPU time used so far, in seconds."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def target(tmp_path):
    with Cli(tmp_path / "data") as hub:
        attacks.prepare(hub.port)
        assert ask(hub.port, "PUT", "honest") == 201
        hub.forget_most_memory()
        yield hub


class Honest:
    """A client that continuously posts a few bytes and requests `/healthz`."""

    def __init__(self, port):
        self.port = port
        self.seconds = []
        self.statuses = collections.Counter()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(timeout=130)

    def _ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while not self.over.wait(0.02):
            for method, path, body in [
                ("GET", "/healthz", None),
                ("POST", "/streams/honest", b'{"n":1}'),
            ]:
                begun = time.monotonic()
                try:
                    connection.request(method, path, body, JSON)
                    answer = connection.getresponse()
                    answer.read()
                    status = answer.status
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    status = repr(error)
                self.seconds.append(time.monotonic() - begun)
                self.statuses[status] += 1

    def check(self):
        """Checks that every request succeeded in a short time."""
        assert set(self.statuses) <= {200, 204}, self.statuses
        quick = statistics.quantiles(self.seconds, n=100)
        print(f"{len(self.seconds)} requests: {quick[49]:.4f} s, 99 % {quick[98]:.4f} s, "
              f"all {max(self.seconds):.3f} s")
        assert quick[49 if IS_DEBUG else 98] < QUICK, quick
        assert max(self.seconds) < 10


def begin(name, hub, seconds):
    command = [sys.executable, attacks.__file__, name, str(hub.port), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run(names, hub, seconds, patience=80):
    """Runs attacks concurrently. Returns the statuses of each."""
    begun = [begin(name, hub, seconds) for name in names]
    try:
        outputs = [process.communicate(timeout=seconds + patience)[0] for process in begun]
    finally:
        for process in begun:
            process.kill()
            process.wait(timeout=10)
    return {name: json.loads(output) for name, output in zip(names, outputs)}


def measured(names, hub, seconds):
    """Runs attacks beside an honest client. Returns their statuses and their CPU time."""
    before = hub.cpu()
    with Honest(hub.port) as honest:
        time.sleep(0.5)
        answers = run(names, hub, seconds)
    cpu = hub.cpu() - before
    print(f"{names}: {hub.most_memory() / MIB:.0f} MiB, {cpu:.1f} s of CPU")
    honest.check()
    return answers, cpu


def test_a_check_that_would_take_for_ever_is_refused(target):
    answers, cpu = measured(["checks"], target, 0)
    assert answers["checks"] == [422, 422]
    assert cpu < 30
    # Each check holds its message as values, about 25 bytes for each byte of the message.
    assert target.most_memory() < 300 * MIB


def test_messages_are_counted_before_memory_is_taken_for_them(target):
    answers, _ = measured(["numbers"], target, 0)
    assert answers["numbers"] == [413, 413, 413]
    assert target.most_memory() < 300 * MIB


def test_readers_that_do_not_read_hold_a_chunk_each(target):
    measured(["unread"], target, 0)
    assert target.most_memory() < 400 * MIB


def test_slow_bodies_end_and_leave_room_for_others(target):
    answers, _ = measured(["slow"], target, 25)
    assert answers["slow"][:16] == [408] * 16
    assert target.most_memory() < 600 * MIB


def test_honest_requests_of_the_same_sizes_are_taken(target):
    # As many messages as one append may have, validated by a schema.
    headers = JSON | {"Stream-Schema": json.dumps({"type": "integer"})}
    assert ask(target.port, "PUT", "honest/checked", headers=headers) == 201
    assert ask(target.port, "POST", "honest/checked", b"[" + b"1," * 99_999 + b"1]") == 204
    # The longest body, with few messages.
    message = b'"' + b"x" * (8 * MIB - 200) + b'"'
    body = b"[" + b",".join([message] * 4) + b"]"
    assert BODY - 4096 < len(body) <= BODY
    assert ask(target.port, "POST", "honest", body) == 204
    # Readers that pause receive all data, also if together they need more than outgoing_bytes: those
    # that don't fit wait for the others, at most 10 s. So all have to read at the same time.
    with concurrent.futures.ThreadPoolExecutor(8) as readers:
        read = [readers.submit(read_slowly, target.port, 8 * MIB - 200) for _ in range(8)]
        for reader in read:
            reader.result()


def read_slowly(port, length):
    """Reads so many bytes of the stream, after a pause. No byte may take longer than 30 s."""
    connection = attacks.get(port, "/streams/honest?live=false", "*/*")
    received = 0
    time.sleep(0.5)
    connection.settimeout(30)
    while received < length and (data := connection.recv(1 << 20)):
        received += len(data)
    connection.close()
    assert received >= length


@pytest.mark.timeout(SOAK + 240)
def test_all_attacks_at_once(target):
    answers, _ = measured(list(ATTACKS), target, SOAK)
    for name, statuses in answers.items():
        print(name, collections.Counter(statuses))
    assert target.most_memory() < MOST_MEMORY
    # The memory is released.
    time.sleep(2)
    with Honest(target.port) as honest:
        time.sleep(2)
    honest.check()
    assert target.terminate() == 0
