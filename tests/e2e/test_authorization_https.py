"""Credentials over https and HTTP/2: a page with many streams, streams of one connection, and an issuer with a certificate of its own."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests

from programs import binary
from test_authorization import SECRET, GuardedHub, bearer
from test_http2 import Connection
from test_tls import HttpsHub, certify
from tour import Tour

STREAMS = 20
KEYS = Path(__file__).parents[2] / "crates/auth/src/token/tests/keys"

# Opens a source for each stream: with a ticket each if there is a token, otherwise with the page's cookie.
OPEN = """
async ({ count, token }) => {
    window.seen = {};
    window.sources = [];
    for (let n = 0; n < count; n++) {
        let query = "";
        if (token) {
            const headers = { authorization: `Bearer ${token}` };
            const { ticket } = await (await fetch("/tickets", { method: "POST", headers })).json();
            query = `?ticket=${ticket}`;
        }
        const source = new EventSource(`/streams/page/${n}${query}`);
        source.onmessage = (event) => { seen[n] = JSON.parse(event.data).n; };
        sources.push(source);
    }
}
"""


class GuardedHttpsHub(HttpsHub):
    """`headwater serve` with TLS, keys and tokens, its streams in memory."""

    run, key, token = GuardedHub.run, GuardedHub.key, GuardedHub.token

    def __init__(self, folder):
        certify(folder)
        self.secret, self.keys = folder / "secret", folder / "keys.json"
        self.secret.write_bytes(SECRET)
        self.secret.chmod(0o600)
        self.admin = self.key("admin", "all:**")
        settings = folder / "hub.toml"
        # Without leeway, a token ends when it says.
        settings.write_text('[auth.jwt]\nleeway = "0s"\n')
        files = ["--config", str(settings), "--keys", str(self.keys)]
        super().__init__(folder, *files, "--jwt-secret-file", str(self.secret))

    def send(self, method, path, items):
        headers = bearer(self.admin)
        url = self.url(f"/streams/{path}")
        answer = requests.request(
            method, url, json=items, headers=headers, verify=self.cert, timeout=10
        )
        assert answer.status_code in (201, 204), answer.text


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with GuardedHttpsHub(tmp_path_factory.mktemp("guarded-https")) as hub:
        yield hub


@pytest.mark.parametrize("how", ["ticket", "cookie"])
def test_a_page_follows_more_streams_than_it_has_connections(browser, guarded, how):
    for n in range(STREAMS):
        guarded.send("PUT", f"page/{n}", [])
    reader = guarded.token("read:page/**")
    # The one host that the flags let resolve.
    origin = f"https://127.0.0.1:{guarded.port}"
    context = browser.new_context(ignore_https_errors=True)
    try:
        if how == "cookie":
            cookie = {"name": "__Secure-headwater", "value": reader, "url": origin, "secure": True}
            context.add_cookies([cookie])
        page = context.new_page()
        page.goto(f"{origin}/openapi.json")
        token = reader if how == "ticket" else None
        page.evaluate(OPEN, {"count": STREAMS, "token": token})
        page.wait_for_function(
            "sources.every((source) => source.readyState === EventSource.OPEN)", timeout=15_000
        )
        for n in range(STREAMS):
            guarded.send("POST", f"page/{n}", {"n": n})
        page.wait_for_function(f"Object.keys(seen).length === {STREAMS}", timeout=15_000)
        assert page.evaluate("seen") == {str(n): n for n in range(STREAMS)}
        entries = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
        assert page.evaluate(entries) == "h2"
    finally:
        context.close()
        for n in range(STREAMS):
            url = guarded.url(f"/streams/page/{n}")
            requests.delete(url, headers=bearer(guarded.admin), verify=guarded.cert, timeout=10)


class Reader(Connection):
    """One connection of HTTP/2, with streams of several tokens."""

    def follow(self, hub, path, accept, token):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", "GET"), (":scheme", "https"), (":path", path)]
        head += [(":authority", f"localhost:{hub.port}"), ("accept", accept)]
        head += [("authorization", f"Bearer {token}")]
        self.h2.send_headers(stream, head, end_stream=True)
        self.socket.sendall(self.h2.data_to_send())
        return stream

    def has(self, stream, text):
        return text in self.data.get(stream, b"")


def expiry(token):
    """The time at which a token expires, in seconds since 1970."""
    claims = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]


def test_streams_of_a_connection_end_with_their_tokens_and_others_continue(guarded):
    guarded.send("PUT", "ends", [])
    long, short = (guarded.token("read:ends", expires=time) for time in ("1h", "6s"))
    sse, lines = "text/event-stream", "application/x-ndjson"
    connection = Reader(guarded)
    brief = {
        connection.follow(guarded, path, accept, short): accept
        for path in ["/streams/ends", "/events?stream=ends"]
        for accept in [sse, lines]
    }
    other = connection.follow(guarded, "/streams/ends", sse, long)
    everyone = [*brief, other]
    connection.read_until(lambda: len(connection.statuses) == len(everyone))
    guarded.send("POST", "ends", {"n": "first"})
    connection.read_until(lambda: all(connection.has(stream, b'"first"') for stream in everyone))
    connection.read_until(lambda: connection.resets.keys() >= brief.keys())
    late = time.time() - expiry(short)
    # A second, and one more for a machine that has other work.
    assert -0.1 < late < 2, late
    guarded.send("POST", "ends", {"n": "last"})
    connection.read_until(lambda: connection.has(other, b'"last"'))
    for stream, accept in brief.items():
        assert not connection.has(stream, b'"last"')
        assert connection.has(stream, b"token_expired") == (accept == sse), connection.data[stream]
    assert other not in connection.resets


class Issuer:
    """Serves a JWK Set over https."""

    def __init__(self, folder):
        certify(folder)
        key = (KEYS / "ed25519.x").read_text().strip()
        keys = [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": key}]
        body = json.dumps({"keys": keys}).encode()

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.cert = folder / "cert.pem"
        context.load_cert_chain(self.cert, folder / "key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}/jwks"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class JwksHub(Tour):
    """`headwater serve` with the keys of an issuer, its streams in memory."""

    program, command, ready = GuardedHub.program, GuardedHub.command, GuardedHub.ready


def test_keys_of_an_issuer_are_fetched_with_its_own_authority_alone(tmp_path):
    command = [binary("HEADWATER_CLI"), "token", "--jwt-private-key", KEYS / "ed25519.pem"]
    command += ["--kid", "one", "--allow", "list:**"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    token = made.stdout.strip()
    with Issuer(tmp_path) as issuer:
        for more, status, ready in [
            ([], 503, 503),
            (["--jwks-ca", str(issuer.cert)], 200, 200),
        ]:
            with JwksHub("--data", "memory", "--jwks", issuer.url, *more) as hub:
                url = hub.url("/streams")
                answer = requests.get(url, headers=bearer(token), timeout=10)
                assert answer.status_code == status, answer.text
                assert requests.get(hub.url("/readyz"), timeout=10).status_code == ready
