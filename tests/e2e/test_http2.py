"""HTTP/2 over TLS, by Python: httpx reads events, and h2 counts the streams of one connection."""

import json
import signal
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.settings
import httpx
import httpx_sse
import pytest
import requests

from test_tls import HttpsHub, certify

# The default of `headwater serve`.
STREAMS = 256


@pytest.fixture(scope="module")
def https(tmp_path_factory):
    folder = tmp_path_factory.mktemp("http2")
    certify(folder)
    with HttpsHub(folder) as hub:
        yield hub


def client(https):
    context = ssl.create_default_context(cafile=https.cert)
    return httpx.Client(http2=True, verify=context, timeout=20)


def post(https, url, item):
    answer = requests.post(url, json=item, verify=https.cert, timeout=10)
    assert answer.status_code == 204, answer.text


def test_httpx_reads_events_and_appends_on_one_connection(https):
    url = https.create("httpx", {"n": 0})
    with client(https) as http:
        with httpx_sse.connect_sse(http, "GET", url) as source:
            assert source.response.http_version == "HTTP/2"
            seen = []
            for event in source.iter_sse():
                seen.append(json.loads(event.data)["n"])
                if seen[-1] == 5:
                    break
                assert http.post(url, json={"n": seen[-1] + 1}).status_code == 204
            last = event.id
        assert seen == [0, 1, 2, 3, 4, 5]
        post(https, url, {"n": 6})
        with httpx_sse.connect_sse(http, "GET", url, headers={"Last-Event-ID": last}) as source:
            assert json.loads(next(source.iter_sse()).data) == {"n": 6}


class Connection:
    """One connection of HTTP/2, whose streams are driven by hand."""

    def __init__(self, https):
        context = ssl.create_default_context(cafile=https.cert)
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", https.port), timeout=20)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        assert self.socket.selected_alpn_protocol() == "h2"
        # It checks nothing of what is sent, as a careless client.
        config = h2.config.H2Configuration(client_side=True)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.socket.sendall(self.h2.data_to_send())
        self.statuses, self.resets, self.data = {}, {}, {}
        self.most = None

    def open(self, https, path):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(
            stream,
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", f"localhost:{https.port}"),
                (":path", path),
                ("accept", "text/event-stream"),
            ],
            end_stream=True,
        )
        self.socket.sendall(self.h2.data_to_send())
        return stream

    def read_until(self, is_over):
        deadline = time.monotonic() + 20
        while not is_over():
            assert time.monotonic() < deadline, (self.statuses, self.resets)
            for event in self.h2.receive_data(self.socket.recv(1 << 16)):
                self.note(event)
            self.socket.sendall(self.h2.data_to_send())

    def note(self, event):
        if isinstance(event, h2.events.RemoteSettingsChanged):
            changed = event.changed_settings.get(h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS)
            self.most = changed.new_value if changed else self.most
        elif isinstance(event, h2.events.ResponseReceived):
            headers = {bytes(name): bytes(value) for name, value in event.headers}
            self.statuses[event.stream_id] = int(headers[b":status"])
        elif isinstance(event, h2.events.StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, h2.events.DataReceived):
            self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)


def test_one_connection_has_256_streams_and_the_next_one_is_refused_alone(https):
    url = https.create("many")
    connection = Connection(https)
    with connection.socket:
        connection.read_until(lambda: connection.most is not None)
        assert connection.most == STREAMS
        path = "/streams/many"
        opened = [connection.open(https, path) for _ in range(STREAMS)]
        connection.read_until(lambda: len(connection.statuses) == STREAMS)
        assert set(connection.statuses.values()) == {200}
        # A client that ignores the limit.
        connection.h2.remote_settings.update(
            {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1000}
        )
        connection.h2.remote_settings.acknowledge()
        more = connection.open(https, path)
        connection.read_until(lambda: more in connection.resets)
        # REFUSED_STREAM: nothing was done, and the request can be repeated (RFC 9113 section 8.7).
        assert connection.resets == {more: 7}
        # All others go on.
        post(https, url, {"n": 1})
        item = b'{"n": 1}'
        seen = connection.data
        connection.read_until(lambda: all(item in seen.get(stream, b"") for stream in opened))
        # With one of them gone, there is room again.
        connection.h2.reset_stream(opened[0], 8)
        again = connection.open(https, path)
        connection.read_until(lambda: again in connection.statuses)
        assert connection.statuses[again] == 200


@pytest.mark.parametrize("how", ["signal", "poll"])
def test_new_certificates_cut_no_reader_and_no_writer(tmp_path, how):
    """Readers of both versions of HTTP and a writer, while the certificate changes."""
    certify(tmp_path)
    first = tmp_path / "first.pem"
    with HttpsHub(tmp_path) as hub:
        first.write_bytes(hub.cert.read_bytes())
        url = hub.create("renewed")
        context = ssl.create_default_context(cafile=first)
        seen = {name: [] for name in ("one", "two", "three")}
        errors, stop = [], threading.Event()

        def guarded(work):
            def run():
                try:
                    work()
                except Exception as error:  # noqa: BLE001
                    errors.append(repr(error))

            thread = threading.Thread(target=run)
            thread.start()
            return thread

        def read(name, is_http2):
            with httpx.Client(http2=is_http2, verify=context, timeout=30) as http:
                with httpx_sse.connect_sse(http, "GET", url) as source:
                    for event in source.iter_sse():
                        seen[name].append(json.loads(event.data)["n"])
                        if seen[name][-1] < 0:
                            return

        written = [0]

        def write():
            # One connection from the start to the end.
            with httpx.Client(http2=True, verify=context, timeout=30) as http:
                while not stop.is_set():
                    assert http.post(url, json={"n": written[0]}).status_code == 204
                    written[0] += 1
                    time.sleep(0.01)
                assert http.post(url, json={"n": -1}).status_code == 204

        def until(is_so):
            deadline = time.monotonic() + 30
            while not is_so():
                assert not errors and time.monotonic() < deadline, errors
                time.sleep(0.01)

        threads = [guarded(lambda: read("one", False)), guarded(lambda: read("two", True))]
        threads += [guarded(lambda: read("three", True)), guarded(write)]
        try:
            # A client that connects later wouldn't trust the new certificate.
            until(lambda: written[0] and all(seen.values()))
            for round in range(2):
                certify(tmp_path, f"renewed-{round}")
                if how == "signal":
                    hub.process.send_signal(signal.SIGHUP)
                wait_for_certificate(hub)
                before = written[0]
                until(lambda: written[0] >= before + 5)
        finally:
            stop.set()
            for thread in threads:
                thread.join(timeout=40)
        assert not errors
        for name, items in seen.items():
            assert items == [*range(written[0]), -1], name


def wait_for_certificate(hub):
    """Waits until new connections get the certificate that is in the file."""
    deadline = time.monotonic() + 30
    while True:
        try:
            requests.get(hub.url("/healthz"), verify=hub.cert, timeout=10)
            return
        except requests.exceptions.SSLError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
