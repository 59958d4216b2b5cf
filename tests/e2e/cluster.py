"""Hubs that share a log on a NATS server, behind a proxy that sends each connection to the next one."""

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

from tour import Tour


class NatsServer:
    """A server with JetStream that syncs nothing. It is a package of Python, unless the environment names another one."""

    def __enter__(self):
        beside = pathlib.Path(sys.executable).with_name("nats-server")
        program = os.environ.get("HEADWATER_NATS_SERVER", beside)
        self.folder = tempfile.TemporaryDirectory(prefix="headwater-nats-")
        log = pathlib.Path(self.folder.name) / "log"
        options = ["--addr", "127.0.0.1", "--port", "-1", "--jetstream"]
        options += ["--store_dir", self.folder.name, "--log", log]
        self.process = subprocess.Popen([program, *options])
        self.url = self._url(log)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(timeout=10)
        self.folder.cleanup()

    def _url(self, log):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            text = log.read_text() if log.exists() else ""
            listens = re.search(r"Listening for client connections on (\S+)", text)
            if listens and "Server is ready" in text:
                return f"nats://{listens[1]}"
            assert self.process.poll() is None, text
            time.sleep(0.05)
        self.__exit__()
        raise AssertionError(f"nats-server did not start: {text}")


class ClusterHub(Tour):
    """A hub of the command line on a server that is alone."""

    program = "HEADWATER_CLI"
    command = ("serve",)
    ready = "listens on http://127.0.0.1:"

    def __init__(self, server, *more):
        super().__init__(
            *("--data", server.url, "--durability", "memory", "--nats-replicas", "1"),
            *("--log", "warn"),
            *more,
        )


class RoundRobin:
    """Forwards each connection to the next hub that accepts it."""

    def __init__(self, hubs):
        self.hubs = hubs
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.turn = 0
        # The last request of each open connection, and its hub.
        self.open = {}

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        for client in list(self.open):
            self._end(client)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def serving(self, start):
        """The hub that serves the open connection whose last request begins so, once there is one."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            hubs = [hub for sent, hub in list(self.open.values()) if sent.startswith(start)]
            if len(hubs) == 1:
                return hubs[0]
            time.sleep(0.01)
        raise AssertionError(f"no connection's request began with {start}")

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _connect(self):
        for _ in self.hubs:
            self.turn += 1
            hub = self.hubs[self.turn % len(self.hubs)]
            with contextlib.suppress(OSError):
                return hub, socket.create_connection(("127.0.0.1", hub.port), timeout=5)
        return None, None

    def _forward(self, client):
        # Only then, as a browser opens connections in advance.
        first = client.recv(65536)
        hub, server = self._connect() if first else (None, None)
        if server is None:
            client.close()
            return
        server.settimeout(None)
        server.sendall(first)

        def note(request):
            self.open[client] = (request, hub)

        note(first)
        threading.Thread(target=self._copy, args=(client, server, note), daemon=True).start()
        self._copy(server, client)
        self._end(client)
        server.close()

    @staticmethod
    def _copy(source, target, note=lambda _: None):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                note(piece)
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _end(self, client):
        self.open.pop(client, None)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        client.close()
