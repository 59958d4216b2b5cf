"""Hubs that share a log: a ticket of one of them opens a stream at any of them, once."""

import concurrent.futures
import pathlib
import subprocess

import httpx
import httpx_sse
import pytest
import requests

from cluster import ClusterHub, NatsServer, RoundRobin
from programs import binary

SECRET = b"a secret of the operator, long enough for HS256"

# Follows a stream of one hub with a ticket of another one.
FOLLOW = """
async ({ token, path, hub }) => {
    window.seen = [];
    window.failed = 0;
    const headers = { authorization: `Bearer ${token}` };
    const { ticket } = await (await fetch("/tickets", { method: "POST", headers })).json();
    const source = new EventSource(`${hub}${path}?ticket=${ticket}`);
    source.onmessage = (event) => seen.push(JSON.parse(event.data).n);
    // The browser reconnects with the ticket, which is used.
    source.onerror = () => { failed += 1; };
    return ticket;
}
"""


class Cluster:
    """Two hubs with keys and tokens, one of which is the owner, behind a proxy."""

    def __init__(self, folder):
        self.secret, self.keys = folder / "secret", folder / "keys.json"
        self.secret.write_bytes(SECRET)
        self.secret.chmod(0o600)
        keys = ("keys", "create", "--keys", self.keys, "--name", "admin", "--allow", "all:**")
        self.key = self.run(*keys)
        token = ("token", "--jwt-secret-file", self.secret, "--allow", "read:**")
        self.token = self.run(*token, "--expires", "1h")

    @staticmethod
    def run(*args):
        command = [binary("HEADWATER_CLI"), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.strip()

    def hub(self, server, *more):
        files = ("--keys", str(self.keys), "--jwt-secret-file", str(self.secret))
        return ClusterHub(server, *files, *more)

    def create(self, path, *items):
        answer = requests.put(
            self.proxy.url(path), json=items, headers=bearer(self.key), timeout=10
        )
        assert answer.status_code == 201, answer.text

    def issue(self, credential):
        """A ticket of the next hub."""
        answer = requests.post(self.proxy.url("/tickets"), headers=bearer(credential), timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["ticket"]


def bearer(credential):
    return {"Authorization": f"Bearer {credential}"}


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    with NatsServer() as server:
        with cluster.hub(server) as one, cluster.hub(server) as other:
            with RoundRobin([one, other]) as proxy:
                cluster.server, cluster.hubs, cluster.proxy = server, [one, other], proxy
                yield cluster


def redeem(url, ticket):
    return requests.get(url, params={"ticket": ticket, "live": "false"}, timeout=30)


def test_a_ticket_opens_a_stream_at_the_next_hub(cluster):
    cluster.create("/streams/tickets", {"n": 0})
    url = cluster.proxy.url("/streams/tickets")
    for credential in (cluster.key, cluster.token) * 2:
        ticket = cluster.issue(credential)
        issuer = cluster.proxy.turn
        with httpx.Client(timeout=20) as client:
            params = {"ticket": ticket}
            with httpx_sse.connect_sse(client, "GET", url, params=params) as source:
                assert cluster.proxy.turn == issuer + 1
                assert next(source.iter_sse()).json() == {"n": 0}
        for hub in cluster.hubs:
            refused = redeem(hub.url("/streams/tickets"), ticket)
            assert refused.status_code == 401, refused.text
            assert refused.json()["code"] == "token_expired"
    files = pathlib.Path(cluster.server.folder.name).rglob("*")
    stored = b"".join(file.read_bytes() for file in files if file.is_file())
    assert b"__ds/tickets/" in stored
    assert cluster.key.encode() not in stored and cluster.token.encode() not in stored


def test_of_many_redemptions_one_is_admitted(cluster):
    cluster.create("/streams/tickets", {"n": 0})
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        for _ in range(5):
            ticket = cluster.issue(cluster.token)
            urls = [hub.url("/streams/tickets") for hub in cluster.hubs] * 10
            answers = pool.map(lambda url: redeem(url, ticket).status_code, urls)
            assert sorted(answers) == [200] + 19 * [401]


def test_a_page_follows_a_stream_of_one_hub_with_a_ticket_of_another(page, cluster):
    cluster.create("/streams/tickets", {"n": 0})
    for issuer, other in (cluster.hubs, reversed(cluster.hubs)):
        page.goto(issuer.url("/openapi.json"))
        hub = other.url("")
        asked = {"token": cluster.token, "path": "/streams/tickets", "hub": hub}
        ticket = page.evaluate(FOLLOW, asked)
        page.wait_for_function("seen.length === 1", timeout=10_000)
        assert page.evaluate("failed") == 0
        assert redeem(issuer.url("/streams/tickets"), ticket).status_code == 401


def test_without_the_log_a_ticket_is_neither_issued_nor_refused(cluster):
    cluster.create("/streams/tickets", {"n": 0})
    ticket = cluster.issue(cluster.key)
    cluster.server.process.kill()
    cluster.server.process.wait(timeout=10)
    one, other = cluster.hubs
    with concurrent.futures.ThreadPoolExecutor() as pool:
        url = other.url("/tickets")
        issued = pool.submit(requests.post, url, headers=bearer(cluster.key), timeout=30)
        redeemed = redeem(one.url("/streams/tickets"), ticket)
        for answer in (redeemed, issued.result()):
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "tickets_unavailable"
