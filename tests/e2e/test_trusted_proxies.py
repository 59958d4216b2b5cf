"""A hub behind the proxies of docs/proxies, which it trusts or not."""

import pytest
import requests

from proxies import Proxy
from tour import Tour


class ServedHub(Tour):
    """`headwater serve`, its streams in memory. It logs every request."""

    program = "HEADWATER_CLI"
    command = ("serve",)
    ready = " listens on http://127.0.0.1:"

    def __init__(self, *more):
        super().__init__("--data", "memory", "-v", *more)


def put(proxy, path, **headers):
    headers = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    answer = requests.put(proxy.url(f"/streams/{path}"), headers=headers, timeout=10)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_a_trusted_proxy_reports_the_scheme_and_the_client(name):
    # As if the proxy served https, without a certificate.
    changes = {
        "nginx": [("X-Forwarded-Proto $scheme", "X-Forwarded-Proto https")],
        "caddy": [("flush_interval 5ms", "flush_interval 5ms\n header_up X-Forwarded-Proto https")],
    }[name]
    with ServedHub("--trusted-proxy", "127.0.0.0/8") as hub:
        with Proxy(name, hub.port, changes) as proxy:
            assert put(proxy, "a") == f"https://127.0.0.1:{proxy.port}/streams/a"
            # The proxy doesn't report the client's port.
            hub.wait_for_line("/streams/a", "peer=127.0.0.1:0")
    with ServedHub() as hub, Proxy(name, hub.port, changes) as proxy:
        assert put(proxy, "a") == f"http://127.0.0.1:{proxy.port}/streams/a"
        line = hub.wait_for_line("/streams/a")
        assert "peer=127.0.0.1:0" not in line


def test_a_client_cannot_pass_for_another_one_behind_nginx():
    with ServedHub("--trusted-proxy", "127.0.0.2") as hub, Proxy("nginx", hub.port) as proxy:
        # The peer is 127.0.0.1, which isn't trusted here.
        put(proxy, "a", X_Forwarded_For="203.0.113.7", Forwarded="for=203.0.113.7")
        assert "203.0.113.7" not in hub.wait_for_line("/streams/a")
    with ServedHub("--trusted-proxy", "127.0.0.1") as hub, Proxy("nginx", hub.port) as proxy:
        # nginx appends the address of its peer, here one of the trusted, and passes on `Forwarded`.
        put(proxy, "a", X_Forwarded_For="198.51.100.1, 203.0.113.7", Forwarded="for=192.0.2.1")
        hub.wait_for_line("/streams/a", "peer=203.0.113.7:0")
