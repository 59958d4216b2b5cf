"""Tokens of Mercure, made as its own clients make them, and an `EventSource` that has them.

Mercure's clients publish forms to one URL, `/.well-known/mercure`, which the hub doesn't have. Tokens, events and the way
to resume are what both have, so a client of EventSource and a plain POST stand for them.
"""

import base64
import hashlib
import hmac
import json
import time

import pytest
import requests

from programs import run_node
from tour import Tour

SECRET = b"!ChangeThisMercureHubJWTSecretKey!"


def token(claims, **header):
    """A JWT (RFC 7519) by HS256."""

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = {"alg": "HS256", "typ": "JWT"} | header
    claims = {"exp": int(time.time()) + 600} | claims
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{encoded(hmac.digest(SECRET, signed.encode(), hashlib.sha256))}"


def before_1_0(**selectors):
    return token({"mercure": selectors})


def since_1_0(action, *topics):
    """Authorization details (RFC 9396)."""
    detail = {
        "type": "https://mercure.rocks/authorization-detail",
        "actions": [action],
        "topics": [{"match": match, "match_type": kind} for kind, match in topics],
    }
    return token({"authorization_details": [detail]}, typ="at+jwt")


class MercureHub(Tour):
    """`headwater serve` that accepts tokens of Mercure."""

    program = "HEADWATER_CLI"
    command = ("serve",)
    ready = " listens on http://127.0.0.1:"

    def __init__(self, folder):
        secret, settings = folder / "secret", folder / "hub.toml"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        settings.write_text("[auth.jwt]\nmercure = true\n")
        options = ["--public-url", "https://example.com", "--config", str(settings)]
        super().__init__("--data", "memory", *options, "--jwt-secret-file", str(secret))


@pytest.fixture(scope="module")
def mercure(tmp_path_factory):
    with MercureHub(tmp_path_factory.mktemp("mercure")) as hub:
        yield hub


@pytest.mark.parametrize(
    "path, publisher, subscriber",
    [
        ("books/1", before_1_0(publish=["*"]), before_1_0(subscribe=["*"])),
        (
            "books/2",
            before_1_0(publish=["https://example.com/streams/books/2"]),
            before_1_0(subscribe=["https://example.com/streams/books/{id}"]),
        ),
        (
            "books/3",
            since_1_0("publish", ("exact", "https://example.com/streams/books/3")),
            since_1_0("subscribe", ("urlpattern", "https://example.com/streams/books/:id")),
        ),
    ],
    ids=["all", "templates", "authorization_details"],
)
def test_a_publisher_and_a_subscriber_keep_their_tokens(mercure, path, publisher, subscriber):
    url = mercure.url(f"/streams/{path}")
    done = run_node("mercure.mjs", url, publisher, subscriber)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1, 2, 2]
    # Neither token is for what the other one does, nor for another topic.
    headers = {"Content-Type": "application/json"}
    for credentials, status in [(subscriber, 403), ("", 401)]:
        more = {"Authorization": f"Bearer {credentials}"} if credentials else {}
        answer = requests.post(url, json={}, headers=headers | more, timeout=10)
        assert answer.status_code == status, answer.text
    own = {"Authorization": f"Bearer {publisher}"}
    assert requests.get(url, headers=own, timeout=10).status_code == 403
    if path != "books/1":
        own = {"Authorization": f"Bearer {subscriber}"}
        other = requests.get(mercure.url("/streams/secret"), headers=own, timeout=10)
        assert other.status_code == 403
