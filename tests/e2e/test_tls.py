"""A hub that serves https itself: curl, openssl, Python, Node.js, Chromium, and its own command line."""

import json
import os
import signal
import subprocess
import time

import pytest
import requests
from playwright.sync_api import sync_playwright

from looking import FLAGS
from programs import NODE_FOLDER, node, program
from tour import Tour

STREAMS = 20

# More streams than a browser has connections over HTTP/1.1.
OPEN = """
(count) => {
    window.seen = {};
    window.sources = [];
    for (let n = 0; n < count; n++) {
        const source = new EventSource(`/streams/page/${n}`);
        source.onmessage = (event) => { seen[n] = JSON.parse(event.data).n; };
        sources.push(source);
    }
}
"""


class HttpsHub(Tour):
    """`headwater serve` with a certificate, its streams in memory."""

    program = "HEADWATER_CLI"
    command = ("serve",)
    ready = " listens on https://127.0.0.1:"

    def __init__(self, folder, *more):
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        files = ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]
        super().__init__("--data", "memory", *files, *more)

    def url(self, path):
        return f"https://localhost:{self.port}{path}"

    def create(self, path, *items):
        url = self.url(f"/streams/{path}")
        answer = requests.put(
            url,
            data=json.dumps(items),
            headers={"Content-Type": "application/json"},
            verify=self.cert,
            timeout=10,
        )
        assert answer.status_code == 201, answer.text
        return url


def certify(folder, name="localhost"):
    """Makes a certificate that is its own root."""
    command = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    # rustls refuses an authority's certificate as that of a server.
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def https(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certify(folder)
    with HttpsHub(folder) as hub:
        yield hub


@pytest.mark.parametrize("version, number", [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl_reads_a_stream_over_both_versions_of_http(curl, https, version, number):
    url = https.create(f"curl/{number}", {"n": 1}, {"n": 2})
    command = [curl, "-sS", version, "--cacert", https.cert, "-w", "%{http_version}"]
    command += ["-H", "Accept: application/x-ndjson", f"{url}?live=false"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ['{"n": 1}', '{"n": 2}', number]


def test_urls_in_responses_are_of_https(https):
    answer = requests.put(
        https.url("/streams/located"),
        headers={"Content-Type": "application/json"},
        verify=https.cert,
        timeout=10,
    )
    assert answer.headers["Location"] == https.url("/streams/located")
    page = requests.get(https.url("/docs"), verify=https.cert, timeout=10)
    assert page.status_code == 200
    # No server is named, so clients use the document's own origin.
    document = requests.get(https.url("/openapi.json"), verify=https.cert, timeout=10).json()
    assert all(server["url"].startswith("/") for server in document.get("servers", []))


def test_requests_follows_a_live_stream(https):
    url = https.create("live")
    headers = {"Accept": "application/x-ndjson"}
    with requests.get(url, headers=headers, stream=True, verify=https.cert, timeout=10) as live:
        lines = live.iter_lines(chunk_size=1)
        for n in range(3):
            requests.post(url, json={"n": n}, verify=https.cert, timeout=10)
            assert json.loads(next(lines)) == {"n": n}


@pytest.mark.parametrize(
    "option, works", [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)]
)
def test_openssl_connects_by_tls_1_2_and_1_3_alone(https, option, works):
    command = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{https.port}", option]
    command += ["-CAfile", https.cert, "-verify_return_error", "-cipher", "ALL:@SECLEVEL=0"]
    result = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30
    )
    assert (result.returncode == 0) == works, result.stderr
    assert ("BEGIN CERTIFICATE" in result.stdout) == works


def test_plain_http_is_refused_with_an_explanation(https):
    answer = requests.get(f"http://127.0.0.1:{https.port}/", timeout=10)
    assert answer.status_code == 400
    assert "speaks https" in answer.text


def test_node_reads_an_event_stream(https):
    url = https.create("node", {"n": 1}, {"n": 2})
    requests.post(url, headers={"Stream-Closed": "true"}, verify=https.cert, timeout=10)
    env = os.environ | {"NODE_EXTRA_CA_CERTS": str(https.cert)}
    command = [node(), NODE_FOLDER / "read.mjs", url]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    items = [event["data"]["n"] for event in events if event["type"] == "message"]
    assert items == [1, 2], result.stderr


def test_a_page_follows_more_streams_than_it_has_connections(https):
    urls = [https.create(f"page/{n}") for n in range(STREAMS)]
    flags = [*FLAGS, "--ignore-certificate-errors"]
    # The page is of 127.0.0.1, the one host that the flags let resolve.
    origin = f"https://127.0.0.1:{https.port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=flags)
        try:
            page = browser.new_page(ignore_https_errors=True)
            page.goto(f"{origin}/openapi.json")
            page.evaluate(OPEN, STREAMS)
            page.wait_for_function(
                "sources.every((source) => source.readyState === EventSource.OPEN)", timeout=15_000
            )
            for n, url in enumerate(urls):
                requests.post(url, json={"n": n}, verify=https.cert, timeout=10)
            page.wait_for_function(f"Object.keys(seen).length === {STREAMS}", timeout=15_000)
            assert page.evaluate("seen") == {str(n): n for n in range(STREAMS)}
            entries = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
            assert page.evaluate(entries) == "h2"
        finally:
            browser.close()


@pytest.mark.parametrize("how", ["option", "HEADWATER_CACERT", "SSL_CERT_FILE"])
def test_the_command_line_trusts_the_certificate_that_it_is_given(cli, https, how):
    url = https.create(f"cli/{how}", {"n": 1})
    requests.post(url, headers={"Stream-Closed": "true"}, verify=https.cert, timeout=10)
    env = {key: value for key, value in os.environ.items() if not key.startswith("SSL_CERT")}
    command = [cli, "tail", url]
    if how == "option":
        command += ["--cacert", https.cert]
    else:
        env[how] = str(https.cert)
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env)
    assert (result.returncode, result.stdout) == (0, '{"n": 1}\n'), result.stderr


def test_the_command_line_refuses_an_unknown_certificate(cli, https):
    url = https.create("unknown", {"n": 1})
    command = [cli, "tail", url, "--attempts", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode == 1, result.stdout
    assert "ertificate" in result.stderr


def test_sighup_loads_a_new_certificate_without_cutting_a_stream(tmp_path):
    certify(tmp_path)
    old = tmp_path / "old.pem"
    with HttpsHub(tmp_path) as hub:
        old.write_bytes(hub.cert.read_bytes())
        url = hub.create("renewed")
        headers = {"Accept": "application/x-ndjson"}
        with requests.get(url, headers=headers, stream=True, verify=old, timeout=10) as live:
            lines = live.iter_lines(chunk_size=1)
            certify(tmp_path, "renewed")
            hub.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while True:
                try:
                    requests.post(url, json={"n": 1}, verify=hub.cert, timeout=10)
                    break
                except requests.exceptions.SSLError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert json.loads(next(lines)) == {"n": 1}
        # A broken one is kept out.
        hub.key.write_text("nothing")
        hub.process.send_signal(signal.SIGHUP)
        hub.wait_for_line("ERROR", "key.pem", "no private key")
        requests.post(url, json={"n": 2}, verify=hub.cert, timeout=10)


def test_http_is_redirected(tmp_path):
    certify(tmp_path)
    with HttpsHub(tmp_path, "--redirect-http", "127.0.0.1:0", "-v") as hub:
        line = hub.wait_for_line("redirecting http://")
        plain = line.split("redirecting ")[1].split(" ")[0].replace("127.0.0.1", "localhost")
        answer = requests.get(f"{plain}/healthz?a=b", allow_redirects=False, timeout=10)
        assert answer.status_code == 308
        assert answer.headers["Location"] == hub.url("/healthz?a=b")
        assert requests.get(f"{plain}/healthz", verify=hub.cert, timeout=10).status_code == 200


def test_a_certificate_that_cannot_be_used_is_explained_at_the_start(cli, tmp_path):
    certify(tmp_path)
    for key, expected in [("", "needs its key"), ("cert.pem", "no private key"), ("no", "can't be read")]:
        command = [cli, "serve", "--data", "memory", "--tls-cert", tmp_path / "cert.pem"]
        command += ["--tls-key", tmp_path / key] if key else []
        result = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert result.returncode == 1, result.stdout
        assert expected in result.stderr
