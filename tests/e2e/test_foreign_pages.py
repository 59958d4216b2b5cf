"""Pages of other sites in a real browser, and a hub on a loopback address: `headwater serve` with its defaults."""

import contextlib
import http.server
import re
import subprocess
import threading

import pytest
import requests
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import sync_playwright

from looking import FLAGS
from programs import binary, program
from proxies import Proxy

# The page's own name server resolves the name to this machine.
RULES = "MAP evil.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"

# A page's attempts, and the parts of them that it can see. Each request avoids a preflight, if a browser allows that
# in any way.
TRY = """
async (hub) => {
    const tried = {};
    const attempt = async (name, work) => {
        try {
            tried[name] = await work();
        } catch (error) {
            tried[name] = `failed: ${error.name}`;
        }
    };
    const read = async (path, init) => {
        const answer = await fetch(hub + path, init);
        return `${answer.status} ${(await answer.text()).trim()}`;
    };
    const text = { "content-type": "text/plain" };
    await attempt("read", () => read("/streams/a"));
    await attempt("list", () => read("/streams"));
    await attempt("document", async () => (await read("/openapi.json")).slice(0, 13));
    await attempt("docs", async () => (await read("/docs")).slice(0, 19));
    await attempt("append", () => read("/streams/a", { method: "POST", body: "evil", headers: text }));
    await attempt("blindly", async () => {
        const answer = await fetch(hub + "/streams/a", { method: "POST", body: "evil", headers: text, mode: "no-cors" });
        return answer.type === "opaque" ? "failed: opaque" : `${answer.status}`;
    });
    await attempt("create", () => read("/streams/made", { method: "PUT", body: "x", headers: text }));
    await attempt("relay", () => read("/relay", { method: "POST", headers: { "upstream-url": "http://127.0.0.1:9/" } }));
    await attempt("follow", () => new Promise((done) => {
        const source = new EventSource(hub + "/events?stream=**");
        source.onmessage = ({ data }) => { source.close(); done(data); };
        source.onerror = () => { source.close(); done("failed: EventSource"); };
    }));
    await attempt("embed", () => new Promise((done) => {
        const script = document.createElement("script");
        script.onload = () => done("loaded");
        script.onerror = () => done("failed: script");
        script.src = hub + "/streams/a";
        document.head.append(script);
    }));
    await attempt("delete", () => read("/streams/made", { method: "DELETE" }));
    return tried;
}
"""

# A form sends text/plain without a script, and leaves its page.
FORM = """
(url) => {
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: url, enctype: "text/plain" });
    form.append(Object.assign(document.createElement("input"), { name: "evil", value: "1" }));
    document.body.append(form);
    form.submit();
}
"""


class Hub:
    """`headwater serve`, with one stream of text."""

    def __init__(self, *args):
        command = [binary("HEADWATER_CLI"), "serve", "-l", "127.0.0.1:0", "-d", "memory", *args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", self.process.stdout.readline())[1])

    def __enter__(self):
        text = {"Content-Type": "text/plain"}
        put = requests.put(self.url("/streams/a"), data="first", headers=text, timeout=10)
        assert put.status_code == 201
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, host):
        return f"http://{host}:{self.port}"

    def assert_untouched_by_pages(self):
        assert requests.get(self.url("/streams/a"), timeout=10).text == "first"

    def assert_untouched(self):
        assert requests.get(self.url("/streams/a"), timeout=10).text == "first"
        streams = requests.get(self.url("/streams"), timeout=10).text
        assert "made" not in streams and "evil" not in streams, streams


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@contextlib.contextmanager
def pages():
    """Serves an empty page on its own port, for any host. Returns the port."""

    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"<!doctype html><title>a page</title><body></body>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def elsewhere():
    with pages() as port:
        yield port


@pytest.fixture(scope="module")
def browser():
    flags = [flag for flag in FLAGS if not flag.startswith("--host-resolver-rules")]
    flags.append(f"--host-resolver-rules={RULES}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=flags)
        yield browser
        browser.close()


def assert_nothing_was_let_through(tried):
    let_through = {name: said for name, said in tried.items() if not said.startswith("failed")}
    assert not let_through


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_another_site_reads_and_changes_nothing(page, hub, elsewhere, host):
    page.goto(f"http://evil.test:{elsewhere}/")
    assert_nothing_was_let_through(page.evaluate(TRY, hub.at(host)))
    page.evaluate(FORM, hub.at(host) + "/streams/a")
    page.wait_for_url("**/streams/a")
    assert "403" in page.inner_text("body")
    hub.assert_untouched()


def test_a_page_without_an_origin_reads_and_changes_nothing(page, hub, elsewhere):
    """Pages in a sandbox send `Origin: null`."""
    page.goto(f"http://localhost:{elsewhere}/")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('iframe'),"
        " { sandbox: 'allow-scripts', srcdoc: '<p>sandboxed' }))"
    )
    frame = page.wait_for_selector("iframe").content_frame()
    frame.wait_for_selector("p")
    assert frame.evaluate("origin") == "null"
    assert_nothing_was_let_through(frame.evaluate(TRY, hub.at("127.0.0.1")))
    hub.assert_untouched()


def test_a_page_whose_own_name_stands_for_this_machine_gets_nothing(page, hub):
    """DNS rebinding: for the browser the hub has the page's own origin, and no browser rule separates them."""
    answer = page.goto(hub.at("evil.test") + "/nowhere")
    assert answer.status == 421
    assert "--allow-host evil.test" in page.inner_text("body")
    tried = page.evaluate(TRY, hub.at("evil.test"))
    reads = {name: said for name, said in tried.items() if not said.startswith("failed")}
    assert all(said.startswith("421") or name == "docs" for name, said in reads.items()), reads
    assert "first" not in str(tried)
    hub.assert_untouched()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("own", ["localhost", "127.0.0.1"])
def test_a_page_of_this_machine_at_another_port_may_use_the_hub(page, hub, elsewhere, host, own):
    page.goto(f"http://{own}:{elsewhere}/")
    tried = page.evaluate(TRY, hub.at(host))
    assert tried["read"] == "200 first"
    assert tried["list"].startswith("200 ")
    assert tried["append"].startswith("204")
    assert tried["create"].startswith("201")
    assert tried["delete"].startswith("204")
    assert '"stream":"a"' in tried["follow"]


def test_the_hubs_own_pages_may_use_it_whatever_is_set(page):
    with Hub("--cors", "none") as hub:
        page.goto(hub.url("/docs"))
        # The page's policy has to allow requests to its own host only.
        tried = page.evaluate(TRY, "")
        assert tried["read"] == "200 first"
        assert tried["create"].startswith("201")
        assert tried["delete"].startswith("204")


def test_a_listed_origin_may_use_the_hub(page, elsewhere):
    with Hub("--cors", f"http://evil.test:{elsewhere}") as hub:
        page.goto(f"http://evil.test:{elsewhere}/")
        tried = page.evaluate(TRY, hub.at("127.0.0.1"))
        assert tried["read"] == "200 first"
        assert tried["create"].startswith("201")


EVIL = "fetch('/streams/a', {method: 'POST', body: 'evil', headers: {'content-type': 'text/plain'}})"

STORED = {
    "text/html": f"<!doctype html><title>t</title><script>{EVIL}</script>",
    'text/plain; x=",text/html"': f"<!doctype html><title>t</title><script>{EVIL}</script>",
    "application/xhtml+xml": '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title>'
    f"<script>{EVIL}</script></head></html>",
    "image/svg+xml": f'<svg xmlns="http://www.w3.org/2000/svg"><script>{EVIL}</script></svg>',
    "application/xml": f'<x xmlns="http://www.w3.org/1999/xhtml"><script>{EVIL}</script></x>',
    "text/plain": f"<!doctype html><script>{EVIL}</script>",
    "application/octet-stream": f"<!doctype html><script>{EVIL}</script>",
}


@pytest.mark.parametrize("content_type", STORED)
def test_a_stored_page_that_is_opened_runs_nothing(page, hub, content_type):
    url = hub.url("/streams/page")
    headers = {"Content-Type": content_type}
    put = requests.put(url, data=STORED[content_type], headers=headers, timeout=10)
    assert put.status_code == 201, put.text
    asked, downloads = [], []
    page.context.on("request", lambda request: asked.append(request.url))
    page.on("download", lambda download: downloads.append(download.url))
    try:
        page.goto(url)
    except PlaywrightError as error:
        # It is stored as a file.
        assert "Download is starting" in str(error) or "ERR_ABORTED" in str(error)
    page.wait_for_timeout(300)
    assert asked == [url]
    assert page.title() != "t"
    if content_type != "text/plain":
        assert downloads == [url]
    # A page that embeds it shows a picture at most.
    page.goto(hub.url("/docs"))
    page.evaluate(
        "(url) => document.body.append(Object.assign(document.createElement('iframe'), { src: url }))",
        url,
    )
    page.wait_for_timeout(300)
    hub.assert_untouched_by_pages()


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_behind_the_documented_proxies_the_hub_answers_for_the_host_that_it_was_told(name):
    def ask(proxy, **headers):
        headers = {"Content-Type": "text/plain"} | headers
        return requests.post(proxy.url("/streams/a"), data="x", headers=headers, timeout=10)

    with Hub() as hub, Proxy(name, hub.port) as proxy:
        refused = ask(proxy, Host="hub.test")
        assert refused.status_code == 421
        assert "--allow-host hub.test" in refused.json()["detail"]
    for option in (["--allow-host", "hub.test"], ["--public-url", "https://hub.test"]):
        with Hub(*option) as hub, Proxy(name, hub.port) as proxy:
            assert ask(proxy, Host="hub.test").status_code == 204
            assert ask(proxy, Host="hub.test", Origin="https://hub.test").status_code == 204
            assert ask(proxy, Host="hub.test", Origin="https://evil.test").status_code == 403
            assert ask(proxy, Host="evil.test").status_code == 421
