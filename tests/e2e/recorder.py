"""A TCP proxy that records its traffic, and can reset every connection."""

import re
import select
import socket
import struct
import threading
import time

import requests

REQUEST = re.compile(rb"^(GET|HEAD|POST) (\S+) HTTP/1\.[01]\r\n(.*?)\r\n\r\n", re.S | re.M)
STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})", re.M)


def assert_passes_at_once(proxy, recorder, name):
    """Fails if a tick takes longer than 100 ms from the recorder, which is behind the proxy, to the client."""
    # The spacing reveals an item that waits for the next one.
    url = proxy.url(f"/ticks?count=4&every_ms=300&format={name}")
    recorder.sent.clear()
    arrived = {}
    with requests.get(url, stream=True, timeout=10) as response:
        seen = b""
        for chunk in response.iter_content(None):
            now = time.monotonic()
            seen += chunk
            for n in range(1, 5):
                if b'"n":%d,' % n in seen:
                    arrived.setdefault(n, now)
    assert sorted(arrived) == [1, 2, 3, 4]
    delays = [at - recorder.sent_at(b'"n":%d,' % n) for n, at in arrived.items()]
    assert max(delays) < 0.1, delays


class Recorder:
    """Forwards `port` to `upstream`, a port of the loopback interface."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.connections = []
        # The server's data with its arrival time: (seconds, bytes).
        self.sent = []
        self._from_client = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.cut()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def requests(self, path):
        """The headers of each request for `path`, in order, with lower-case names."""
        with self.lock:
            sent = [bytes(data) for data in self._from_client]
        found = []
        for data in sent:
            for request in REQUEST.finditer(data):
                if request[2].decode().split("?")[0] == path:
                    lines = request[3].decode().split("\r\n")
                    pairs = (line.split(": ", 1) for line in lines)
                    found.append({name.lower(): value for name, value in pairs})
        return found

    def statuses(self):
        """The status of each response, in order."""
        with self.lock:
            data = b"".join(data for _, data in self.sent)
        return [int(status) for status in STATUS.findall(data)]

    def sent_at(self, needle):
        """The time at which the first chunk with `needle` arrived from the server."""
        with self.lock:
            return next(at for at, data in self.sent if needle in data)

    def cut(self):
        """Resets every connection, as a failing network does."""
        with self.lock:
            connections, self.connections = self.connections, []
        for pair in connections:
            for connection in pair:
                linger = struct.pack("ii", 1, 0)
                try:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # The connection was already closed.
                connection.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.connections.append((client, server))
                requests = bytearray()
                self._from_client.append(requests)
            threading.Thread(
                target=self._forward, args=(client, server, requests), daemon=True
            ).start()

    def _forward(self, client, server, requests):
        try:
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for source in readable:
                    data = source.recv(64 * 1024)
                    if not data:
                        return
                    with self.lock:
                        if source is client:
                            requests += data
                        else:
                            self.sent.append((time.monotonic(), data))
                    (server if source is client else client).sendall(data)
        except (OSError, ValueError):
            pass  # One side reset its connection, or `cut` closed both.
        finally:
            client.close()
            server.close()
