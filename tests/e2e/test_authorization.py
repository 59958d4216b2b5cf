"""A hub that requires credentials, and the clients that have them: curl, Python, a browser, and its own command line."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import httpx
import httpx_sse
import pytest
import requests

from programs import binary
from test_tls import HttpsHub, certify
from tour import Tour

SECRET = b"a secret of the operator, long enough for HS256"

GUIDE = Path(__file__).parents[2] / "docs" / "authorization.md"


def follow():
    """The function of the guide, started in a page."""
    code = GUIDE.read_text().split("```js\n", 1)[1].split("```", 1)[0]
    return f"""async ({{ path, token }}) => {{
        {code}
        window.seen = [];
        await follow(path, async () => token, (message) => seen.push(message.n));
    }}"""


COOKIE = """
async (path) => {
    window.seen = [];
    const source = new EventSource(path);
    source.onmessage = (event) => seen.push(JSON.parse(event.data).n);
    const answer = await fetch(path, {
        method: "POST", body: '{"n": 2}', headers: { "content-type": "application/json" },
    });
    return answer.status;
}
"""


class GuardedHub(Tour):
    """`headwater serve` with keys and tokens, its streams in memory."""

    program = "HEADWATER_CLI"
    command = ("serve",)
    ready = " listens on http://127.0.0.1:"

    def __init__(self, folder):
        self.folder = folder
        self.secret = folder / "secret"
        self.secret.write_bytes(SECRET)
        self.secret.chmod(0o600)
        self.keys = folder / "keys.json"
        # The hub follows the file from its start.
        self.admin = self.key("admin", "all:**")
        settings = folder / "hub.toml"
        # Without leeway, a token ends when it says.
        settings.write_text('[auth.jwt]\nleeway = "0s"\n')
        files = ["--config", str(settings), "--keys", str(self.keys)]
        files += ["--jwt-secret-file", str(self.secret)]
        super().__init__("--data", "memory", *files, "--anonymous", "read:public/**")

    def run(self, *args):
        command = [binary("HEADWATER_CLI"), *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)

    def key(self, name, *grants, expires=None):
        more = ["--expires", expires] if expires else []
        allow = [part for grant in grants for part in ("--allow", grant)]
        made = self.run("keys", "create", "--keys", str(self.keys), "--name", name, *allow, *more)
        return made.stdout.strip()

    def revoke(self, name):
        self.run("keys", "revoke", "--keys", str(self.keys), name)

    def token(self, *grants, expires="1h"):
        allow = [part for grant in grants for part in ("--allow", grant)]
        made = self.run(
            "token", "--jwt-secret-file", str(self.secret), *allow, "--expires", expires
        )
        return made.stdout.strip()

    def create(self, path, *items):
        url = self.url(f"/streams/{path}")
        answer = requests.put(
            url, json=items, headers={"Authorization": f"Bearer {self.admin}"}, timeout=10
        )
        assert answer.status_code == 201, answer.text
        return url

    def append(self, path, item):
        headers = {"Authorization": f"Bearer {self.admin}"}
        answer = requests.post(
            self.url(f"/streams/{path}"), json=item, headers=headers, timeout=10
        )
        assert answer.status_code == 204, answer.text


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with GuardedHub(tmp_path_factory.mktemp("guarded")) as hub:
        yield hub


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_curl_needs_a_key_except_for_what_is_public(curl, guarded):
    guarded.create("orders/1", {"n": 1})
    guarded.create("public/1", {"n": 1})
    key = guarded.key("reader", "read:orders/**")

    def status(path, *more):
        command = [curl, "-sS", "-o", os.devnull, "-w", "%{http_code}", guarded.url(path), *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout

    authorized = ["-H", f"Authorization: Bearer {key}"]
    assert status("/streams/orders/1") == "401"
    assert status("/streams/orders/1", *authorized) == "200"
    assert status("/streams/public/1") == "200"
    assert status("/streams/other", *authorized) == "403"
    assert status("/streams/orders/1", *authorized, "-X", "DELETE") == "403"
    assert status(f"/streams/orders/1?access_token={key}") == "401"
    assert status("/healthz") == "200"


def test_a_python_reader_is_told_that_its_token_expired_and_resumes_with_another(guarded):
    url = guarded.create("expiring", {"n": 0})
    seen, problems = [], []

    def read(lifetime, until, **headers):
        """Reads events until it has seen `until`. Returns the last id."""
        last = None
        token = guarded.token("read:expiring", expires=lifetime)
        headers |= bearer(token) | {"Accept": "text/event-stream"}
        with httpx.Client(timeout=60) as client:
            with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
                try:
                    for event in source.iter_sse():
                        if event.event == "headwater:error":
                            problems.append(json.loads(event.data))
                            continue
                        last = event.id
                        seen.append(json.loads(event.data)["n"])
                        if seen[-1] == until:
                            return last
                        if seen[-1] == 0:
                            guarded.append("expiring", {"n": 1})
                except httpx.RemoteProtocolError:
                    # The body is aborted, so that it can't be taken for complete.
                    assert problems
        return last

    last = read("2s", until=None)
    guarded.append("expiring", {"n": 2})
    read("1h", until=2, **{"Last-Event-ID": last})
    assert seen == [0, 1, 2]
    told = [(problem["status"], problem["code"]) for problem in problems]
    assert told == [(401, "token_expired")]


def test_a_revoked_key_ends_what_it_reads_within_two_seconds(guarded):
    url = guarded.create("revoked", {"n": 0})
    headers = bearer(guarded.key("gone", "read:revoked")) | {"Accept": "application/x-ndjson"}
    with requests.get(url, headers=headers, stream=True, timeout=30) as live:
        lines = live.iter_lines(chunk_size=1)
        assert json.loads(next(lines)) == {"n": 0}
        guarded.revoke("gone")
        revoked = time.monotonic()
        with pytest.raises(requests.exceptions.RequestException):
            list(lines)
        assert time.monotonic() - revoked < 2
    assert requests.get(url, headers=headers, timeout=10).status_code == 401


def test_the_command_line_continues_with_the_next_token_of_its_file(cli, guarded, tmp_path):
    url = guarded.create("file")
    file = tmp_path / "token"
    file.write_text(guarded.token("read:file", expires="2s"))
    command = [cli, "tail", url, "--token-file", file]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tail:
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(tail.stdout))
        reader.start()
        for n in range(8):
            guarded.append("file", {"n": n})
            if n == 1:
                file.write_text(guarded.token("read:file", expires="1h"))
            time.sleep(0.5)
        requests.post(url, headers=bearer(guarded.admin) | {"Stream-Closed": "true"}, timeout=10)
        reader.join(timeout=20)
        assert tail.wait(timeout=10) == 0, tail.stderr.read()
    assert [json.loads(line)["n"] for line in lines] == list(range(8))


def test_a_page_follows_a_stream_with_tickets_until_its_end(page, guarded):
    url = guarded.create("ticket", {"n": 0})
    page.goto(guarded.url("/openapi.json"))
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    token = guarded.token("read:ticket", expires="3s")
    page.evaluate(follow(), {"token": token, "path": "ticket"})
    page.wait_for_function("seen.length === 1", timeout=10_000)
    # The ticket was for one request, and ends with its token, which gets no other ticket.
    tickets = [url for url in requested if url.endswith("/tickets")]
    with page.expect_response("**/tickets", timeout=10_000) as refused:
        pass
    assert (len(tickets), refused.value.status) == (1, 401)

    page.goto(guarded.url("/openapi.json"))
    token = guarded.token("read:ticket", expires="1h")
    page.evaluate(follow(), {"token": token, "path": "ticket"})
    page.wait_for_function("seen.length === 1", timeout=10_000)
    guarded.append("ticket", {"n": 1})
    page.wait_for_function("seen.length === 2", timeout=10_000)
    requests.post(url, headers=bearer(guarded.admin) | {"Stream-Closed": "true"}, timeout=10)
    page.wait_for_timeout(500)
    requested.clear()
    # Its next attempt would be after half a second.
    page.wait_for_timeout(2500)
    assert requested == []
    assert page.evaluate("seen") == [0, 1]


def test_a_page_with_a_cookie_reads_and_appends_over_https(browser, tmp_path):
    certify(tmp_path)
    keys = tmp_path / "keys.json"
    create = [binary("HEADWATER_CLI"), "keys", "create", "--keys", keys, "--name", "page"]
    key = subprocess.run(
        [*create, "--allow", "all:**"], capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()
    with HttpsHub(tmp_path, "--keys", str(keys)) as hub:
        url = hub.url("/streams/cookie")
        requests.put(url, json=[{"n": 1}], headers=bearer(key), verify=hub.cert, timeout=10)
        origin = f"https://127.0.0.1:{hub.port}"
        context = browser.new_context(ignore_https_errors=True)
        try:
            cookie = {"name": "__Secure-headwater", "value": key, "url": origin, "secure": True}
            context.add_cookies([cookie])
            page = context.new_page()
            page.goto(f"{origin}/openapi.json")
            assert page.evaluate(COOKIE, "/streams/cookie") == 204
            page.wait_for_function("seen.length === 2", timeout=10_000)
            assert page.evaluate("seen") == [1, 2]
        finally:
            context.close()


def test_no_hub_is_open_to_other_machines_by_accident(cli):
    command = [cli, "serve", "--data", "memory", "--listen", "0.0.0.0:0"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode != 0
    assert "keys create" in result.stderr and "--open" in result.stderr
