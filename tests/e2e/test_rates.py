"""`headwater serve` with limits for its senders, and clients that run into them."""

import json
import socket
import subprocess
import threading
import time

import pytest
import requests

from hub import lines
from programs import binary
from tour import Tour

SLOW = 1.0


class LimitedHub(Tour):
    """`headwater serve` with these options, its streams in memory."""

    program = "HEADWATER_CLI"
    command = ("serve",)
    ready = " listens on http://127.0.0.1:"

    def __init__(self, *args):
        super().__init__("--data", "memory", *args)

    def create(self, path, **headers):
        url = self.url(f"/streams/{path}")
        headers = {"Content-Type": "application/json"} | headers
        answer = requests.put(url, headers=headers, timeout=10)
        assert answer.status_code == 201, answer.text
        return url


def make_key(folder, name, *more):
    command = [binary("HEADWATER_CLI"), "keys", "create", "--keys", folder / "keys.json"]
    command += ["--name", name, "--allow", "all:**", *more]
    made = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return made.stdout.strip()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def count(url, tries, **headers):
    """The number of requests that are admitted at once, and the first refusal."""
    with requests.Session() as session:
        for n in range(tries):
            answer = session.get(url, headers=headers, timeout=10)
            if answer.status_code == 429:
                return n, answer
            assert answer.status_code == 200, answer.text
    return tries, None


def test_a_key_has_the_limits_of_all_keys_or_its_own(tmp_path):
    many = make_key(tmp_path, "many")
    few = make_key(tmp_path, "few", "--rates", "requests=2/m")
    keys = ["--keys", str(tmp_path / "keys.json")]
    with LimitedHub(*keys, "--key-rates", "requests=5/m") as hub:
        url = hub.url("/streams")
        admitted, refusal = count(url, 10, **bearer(many))
        assert admitted == 5
        assert refusal.json()["code"] == "rate_limited"
        assert refusal.json()["violated-policies"] == ["requests"]
        assert 1 <= int(refusal.headers["Retry-After"]) <= 12
        assert refusal.headers["RateLimit-Policy"] == '"requests";q=5;w=60'
        assert refusal.headers["RateLimit"].startswith('"requests";r=0;t=')
        assert count(url, 10, **bearer(few))[0] == 2
        # Requests without a key have no limit here, and health checks never have one.
        assert requests.get(url, timeout=10).status_code == 401
        assert requests.get(hub.url("/healthz"), headers=bearer(few), timeout=10).status_code == 200


def test_behind_a_trusted_proxy_each_of_its_clients_has_its_own_limit():
    with LimitedHub("--address-rates", "requests=3/m", "--trusted-proxy", "127.0.0.1") as hub:
        url = hub.url("/streams")
        # An IPv6 client has a network of 64 bits.
        for address in ["192.0.2.1", "192.0.2.2", "2001:db8:0:1::1"]:
            assert count(url, 10, **{"X-Forwarded-For": address})[0] == 3, address
        assert count(url, 10, **{"X-Forwarded-For": "2001:db8:0:1:ffff::2"})[0] == 0
    with LimitedHub("--address-rates", "requests=3/m") as hub:
        # The header of another proxy is no way around it.
        admitted = [
            count(hub.url("/streams"), 10, **{"X-Forwarded-For": f"192.0.2.{n}"})[0]
            for n in range(3)
        ]
        assert admitted == [3, 0, 0]


def in_pieces(url, count, size):
    """Lines that come no faster than the hub stores them.

    A piece is admitted whole if the sender isn't over its limit, so a single one of all lines would meet no limit.
    """
    for start in range(0, count, size):
        yield "".join(json.dumps({"n": n}) + "\n" for n in range(start, min(start + size, count))).encode()
        while len(lines(url)) < min(start + size, count):
            time.sleep(0.05)


def test_publish_waits_for_its_limit_and_stores_each_message_once(cli):
    with LimitedHub("--address-rates", "messages=200:100,requests=50") as hub:
        url = hub.create("limited")
        command = [cli, "publish", url, "--producer", "one"]
        start = time.monotonic()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as publish:
            for piece in in_pieces(url, 700, 100):
                publish.stdin.write(piece)
                publish.stdin.flush()
            _, errors = publish.communicate(timeout=60)
        assert publish.returncode == 0, errors
        assert [message["n"] for message in lines(url)] == list(range(700))
        assert time.monotonic() - start > SLOW


def test_an_upload_without_an_end_is_slowed_down_and_others_are_not():
    with LimitedHub("--address-rates", "messages=400:200") as hub:
        url = hub.create("lines")
        seen = []

        def upload():
            headers = {"Content-Type": "application/x-ndjson"}
            answer = requests.post(url, data=in_pieces(url, 1000, 200), headers=headers, timeout=60)
            seen.append((answer.status_code, answer.json()["appended"]))

        start = time.monotonic()
        uploading = threading.Thread(target=upload)
        uploading.start()
        # Reading isn't limited meanwhile.
        while uploading.is_alive():
            assert requests.get(url, timeout=10).status_code == 200
            time.sleep(0.05)
        assert seen == [(200, 1000)]
        assert time.monotonic() - start > SLOW


def test_a_reader_beyond_the_limit_is_refused_until_another_one_leaves():
    with LimitedHub("--address-rates", "open=2") as hub:
        url = hub.create("read") + "?live=sse&offset=-1"
        first = requests.get(url, stream=True, timeout=10)
        second = requests.get(url, stream=True, timeout=10)
        refused = requests.get(url, timeout=10)
        assert refused.status_code == 429, refused.text
        assert int(refused.headers["Retry-After"]) > 0
        first.close()
        deadline = time.monotonic() + 10
        while True:
            third = requests.get(url, stream=True, timeout=10)
            third.close()
            if third.status_code == 200:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        second.close()


def percentile(times, part):
    return sorted(times)[int(len(times) * part)]


def attack(port, stop, answers):
    """Sends 1,000 requests a second with a wrong token, on one connection."""
    wrong = "hwk_abcdefghijkl_" + "a" * 43
    request = f"GET /streams/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {wrong}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(10)
        due = time.monotonic()
        unread = b""
        while not stop.is_set():
            connection.sendall(request.encode() * 50)
            found = 0
            while found < 50:
                data = connection.recv(1 << 20)
                assert data, "the connection was closed"
                unread += data
                found += unread.count(b"HTTP/1.1 4")
                answers["401"] += unread.count(b"HTTP/1.1 401")
                answers["429"] += unread.count(b"HTTP/1.1 429")
                # The rest may have the start of the next status line.
                unread = unread[-10:] if not unread.endswith(b"HTTP/1.1 4") else b""
            due += 0.05
            time.sleep(max(0, due - time.monotonic()))


@pytest.mark.parametrize("rates", [[], ["--address-rates", "requests=100"]])
def test_a_thousand_wrong_tokens_a_second_cost_others_nothing(tmp_path, rates):
    key = make_key(tmp_path, "one")
    with LimitedHub("--keys", str(tmp_path / "keys.json"), *rates) as hub:
        url = hub.create("a", **bearer(key))

        def measure(session):
            """Durations of small appends and health checks, in seconds."""
            times = []
            for _ in range(100):
                for send in (
                    lambda: session.post(url, json={}, headers=bearer(key), timeout=10),
                    lambda: session.get(hub.url("/healthz"), timeout=10),
                ):
                    start = time.monotonic()
                    assert send().status_code in (200, 204)
                    times.append(time.monotonic() - start)
            return times

        stop, answers = threading.Event(), {"401": 0, "429": 0}
        with requests.Session() as session:
            alone = percentile(measure(session), 0.99)
            attacking = threading.Thread(target=attack, args=(hub.port, stop, answers))
            attacking.start()
            began = time.monotonic()
            attacked = measure(session)
            while time.monotonic() - began < 2:
                attacked += measure(session)
            stop.set()
            attacking.join()
        lasted = time.monotonic() - began
        # Generous: on a busy machine, all of this waits for a processor.
        assert percentile(attacked, 0.99) < 0.1 + 5 * alone, (alone, sorted(attacked)[-5:])
        assert sum(answers.values()) > 200 * lasted, answers
        if rates:
            assert answers["401"] < 100 * (lasted + 3), answers
            assert answers["429"] > 0
