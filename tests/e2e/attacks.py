"""Clients that try to exhaust a hub's memory, workers and disk. Each runs in its own process:

    python attacks.py NAME PORT SECONDS

It attacks the hub on that port for this time, prints a JSON list of the statuses of the responses, and exits.
"""

import http.client
import json
import os
import selectors
import socket
import sys
import time

MIB = 1 << 20
JSON = {"Content-Type": "application/json"}
BODY = 32 * MIB

# 12 KB, with 900 constants, none of which ever matches.
SCHEMA = {"items": {"anyOf": [{"const": n} for n in range(900)]}}

STREAMS = {
    "checked": ("application/json", {"Stream-Schema": json.dumps(SCHEMA, separators=(",", ":"))}),
    "counted": ("application/json", {}),
    "lines": ("application/x-ndjson", {}),
    "events": ("text/event-stream", {}),
    "large": ("application/json", {}),
    "small": ("application/json", {}),
    "deleted": ("application/json", {}),
}

LARGE = b'["' + b"x" * (8 * MIB - 100) + b'"]'
SMALL = json.dumps([f"{n:07d}" for n in range(20_000)]).encode()


def prepare(port):
    """Creates the streams for the attacks."""
    for name, (content_type, headers) in STREAMS.items():
        status = ask(port, "PUT", name, headers={"Content-Type": content_type} | headers)
        assert status == 201, (name, status)
    assert ask(port, "POST", "large", LARGE) == 204
    for _ in range(20):
        assert ask(port, "POST", "small", SMALL) == 204


def ask(port, method, stream, body=None, headers=JSON):
    """The status of a response, or the name of the error instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, f"/streams/{stream}", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


def repeat(until, attack):
    """Repeats an attack, at least once. Returns the responses' statuses."""
    answers = attack()
    while time.monotonic() < until:
        answers += attack()
    return answers


def checks(port, until):
    """Posts messages of 1 MB, each of whose elements fails 900 subschemas."""
    body = b"[[" + b"-1," * (1_000_000 // 3) + b"-1]]"
    return repeat(until, lambda: [ask(port, "POST", "checked", body) for _ in range(2)])


def numbers(port, until):
    """Posts far more messages than one append may have, in every way in which a body is split."""
    bodies = [
        ("counted", "application/json", b"[" + b"1," * (BODY // 2 - 2) + b"1]"),
        ("lines", "application/x-ndjson", b"\n" * BODY),
        ("events", "text/event-stream", b"data\n\n" * (BODY // 6)),
    ]
    return repeat(
        until,
        lambda: [
            ask(port, "POST", stream, body, {"Content-Type": content_type})
            for stream, content_type, body in bodies
        ],
    )


def unread(port, until):
    """Requests data without reading it, over 200 connections, and over one HTTP/2 connection with a closed window."""

    def attack():
        connections = []
        for stream in ["large", "small"]:
            for accept in ["text/event-stream", "application/x-ndjson"]:
                for path in [f"/streams/{stream}", f"/events?stream={stream}"]:
                    connections += [get(port, path, accept) for _ in range(25)]
        connections.append(closed_window(port, 200))
        time.sleep(max(5, min(20, until - time.monotonic())))
        for connection in connections:
            connection.close()
        return ["left"]

    return repeat(until, attack)


def get(port, path, accept):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def closed_window(port, streams):
    """An HTTP/2 connection with one request per stream, none of whose response bodies may be sent."""

    def frame(kind, flags, stream, payload):
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
        return head + stream.to_bytes(4, "big") + payload

    def literal(name, value):
        return b"\x00" + b"".join(bytes([len(text)]) + text for text in (name, value))

    fields = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/streams/large"),
        (b":authority", b"localhost"),
        (b"accept", b"text/event-stream"),
    ]
    block = b"".join(literal(*field) for field in fields)
    # SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
    settings = (4).to_bytes(2, "big") + (0).to_bytes(4, "big")
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, settings))
    # HEADERS with END_STREAM and END_HEADERS (section 6.2).
    for n in range(streams):
        connection.sendall(frame(1, 5, 2 * n + 1, block))
    return connection


def slow(port, until):
    """Sends 16 bodies of 32 MiB, one byte at a time."""

    def attack():
        head = (
            f"POST /streams/counted HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {BODY}\r\n\r\n["
        )
        connections = []
        waiting = selectors.DefaultSelector()
        for _ in range(16):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(head.encode())
            connections.append(connection)
            waiting.register(connection, selectors.EVENT_READ)
        answers = []
        deadline = max(until, time.monotonic() + 5)
        while len(answers) < len(connections) and time.monotonic() < deadline:
            for key, _ in waiting.select(timeout=1):
                answers.append(answer(key.fileobj))
                waiting.unregister(key.fileobj)
            for key in list(waiting.get_map().values()):
                try:
                    key.fileobj.sendall(b" ")
                except OSError:
                    pass  # The response follows.
        for connection in connections:
            connection.close()
        return answers

    return repeat(until, attack)


def answer(connection):
    try:
        return int(connection.recv(65536).split(b" ", 2)[1])
    except OSError as error:
        return type(error).__name__
    except IndexError:
        return "closed"


def deletes(port, until):
    """Fills a stream with 8 MiB at a time, and deletes it."""

    def attack():
        answers = [ask(port, "POST", "deleted", LARGE) for _ in range(8)]
        answers.append(ask(port, "DELETE", "deleted"))
        answers.append(ask(port, "PUT", "deleted"))
        return answers

    return repeat(until, attack)


ATTACKS = {attack.__name__: attack for attack in (checks, numbers, unread, slow, deletes)}

if __name__ == "__main__":
    name, port, seconds = sys.argv[1:]
    # The hub and the measuring processes have priority.
    os.nice(10)
    answers = ATTACKS[name](int(port), time.monotonic() + float(seconds))
    print(json.dumps(answers))
