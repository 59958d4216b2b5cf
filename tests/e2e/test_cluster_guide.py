"""The files of docs/cluster: three NATS servers, two hubs and Caddy, run with exactly those settings except for addresses and
folders. Servers and hubs are restarted in turn, and one server loses its disk, while a client publishes and another reads."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest
import requests
import yaml

import ports
from hub import lines
from programs import binary
from proxies import Proxy
from test_hub_cluster import Reader

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "cluster"
PASSWORDS = {"HUB_PASSWORD": "hub-secret", "SYS_PASSWORD": "sys-secret"}
SERVERS = ("n1", "n2", "n3")
HUBS = ("hub1", "hub2")
# A server or hub that is restarted has to be ready within this.
READY_S = 60


def until(is_so, what):
    deadline = time.monotonic() + READY_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def answers(url):
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


class Cluster:
    """The services of compose.yaml as processes. `addresses` maps those of the files to ports of this machine."""

    def __init__(self, folder):
        self.folder = folder
        self.services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
        self.addresses = {f"{name}:8000": ports.stable() for name in (*HUBS, "hub3")}
        for name in SERVERS:
            self.addresses |= {f"{name}:{port}": ports.stable() for port in (4222, 6222, 8222)}
        self.running = {}

    def __enter__(self):
        for name in SERVERS:
            self.start_server(name)
        for name in SERVERS:
            self.wait_for_server(name)
        # The options of a new hub are those of the second, with its own name.
        third = yaml.safe_dump(self.services["hub2"]).replace("hub2", "hub3")
        self.services["hub3"] = yaml.safe_load(third)
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.kill()
            process.wait(timeout=10)

    def local(self, text):
        for address, port in self.addresses.items():
            text = text.replace(address, f"127.0.0.1:{port}")
        return text

    def environment(self, name):
        given = self.services[name]["environment"]
        put = lambda value: re.sub(r"\$\{(\w+):\?\}", lambda found: PASSWORDS[found[1]], value)
        return os.environ | {key: self.local(put(value)) for key, value in given.items()}

    def start_server(self, name):
        text = self.local((FOLDER / "nats.conf").read_text())
        text = text.replace("/data", str(self.folder / name))
        for address in ("0.0.0.0:4222", "0.0.0.0:6222", "127.0.0.1:8222"):
            port = self.addresses[f"{name}:{address.split(':')[1]}"]
            assert text.count(address) == 1
            text = text.replace(address, f"127.0.0.1:{port}")
        config = self.folder / f"{name}.conf"
        config.write_text(text)
        beside = pathlib.Path(sys.executable).with_name("nats-server")
        program = os.environ.get("HEADWATER_NATS_SERVER", beside)
        log = self.folder / f"{name}.log"
        command = [program, "-c", config, "--log", log]
        self.running[name] = subprocess.Popen(command, env=self.environment(name))

    def wait_for_server(self, name):
        url = f"http://127.0.0.1:{self.addresses[f'{name}:8222']}/healthz"
        until(lambda: answers(url), f"{name} isn't healthy")

    def start_hub(self, name):
        environment = self.environment(name)
        listen = f"127.0.0.1:{self.addresses[f'{name}:8000']}"
        environment["HEADWATER_LISTEN"] = listen
        options = [self.local(option) for option in self.services[name]["command"][1:]]
        command = [binary("HEADWATER_CLI"), *options, "--log", "error"]

        def is_ready():
            process = self.running.get(name)
            if process is None or process.poll() is not None:
                # As compose does: a hub ends if the cluster isn't ready.
                self.running[name] = subprocess.Popen(command, env=environment)
            return answers(f"http://{listen}/readyz")

        until(is_ready, f"{name} isn't ready")

    def stop(self, name):
        process = self.running.pop(name)
        process.terminate()
        process.wait(timeout=30)

    def lose(self, name):
        """Ends a server and removes its data."""
        process = self.running.pop(name)
        process.kill()
        process.wait(timeout=10)
        shutil.rmtree(self.folder / name)


class Publisher(threading.Thread):
    """Appends numbers until it is stopped, and repeats each until it is acknowledged."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url = url
        self.count = 0
        self.stopped = False

    def run(self):
        while not self.stopped:
            headers = {
                "Producer-Id": "publisher",
                "Producer-Epoch": "0",
                "Producer-Seq": str(self.count),
            }
            try:
                answer = requests.post(
                    self.url, json={"n": self.count}, headers=headers, timeout=30
                )
                if answer.status_code in (200, 204):
                    self.count += 1
            except requests.RequestException:
                pass
            time.sleep(0.02)


@pytest.mark.timeout(400)
def test_the_documented_cluster_survives_restarts_and_a_lost_disk(tmp_path):
    with Cluster(tmp_path) as cluster:
        for name in HUBS:
            cluster.start_hub(name)
        site = (FOLDER / "Caddyfile").read_text()
        site = cluster.local(site) + "\n# 127.0.0.1:8000"
        with Proxy("caddy", 8000, site=site) as proxy:
            url = proxy.url("/streams/numbers")
            headers = {"Content-Type": "application/json"}
            until(
                lambda: requests.put(url, headers=headers, timeout=30).status_code in (200, 201),
                "the stream can't be created",
            )
            publisher, reader = Publisher(url), Reader(url, 10**9)
            publisher.start()
            reader.start()

            def progress():
                wanted = publisher.count + 20
                until(lambda: publisher.count >= wanted, "no appends")
                until(lambda: len(reader.seen) >= wanted, "no reads")

            progress()
            for name in SERVERS:
                cluster.stop(name)
                cluster.start_server(name)
                cluster.wait_for_server(name)
            progress()
            for name in HUBS:
                cluster.stop(name)
                cluster.start_hub(name)
            progress()
            cluster.lose("n2")
            progress()
            cluster.start_server("n2")
            cluster.wait_for_server("n2")
            # The new disk counts now: the others lose a server each.
            cluster.stop("n1")
            progress()
            cluster.start_server("n1")
            cluster.wait_for_server("n1")
            cluster.start_hub("hub3")
            publisher.stopped = True
            publisher.join(timeout=60)
            until(lambda: len(reader.seen) == publisher.count, "the reader lacks messages")
            assert reader.seen == list(range(publisher.count))
            other = f"http://127.0.0.1:{cluster.addresses['hub3:8000']}/streams/numbers"
            assert [item["n"] for item in lines(other)] == reader.seen
            # What belongs to the owner is answered at each hub.
            path = "/streams/__ds/subscriptions/none"
            for name in ("hub1", "hub2", "hub3"):
                url_of = f"http://127.0.0.1:{cluster.addresses[f'{name}:8000']}{path}"
                found = lambda: requests.get(url_of, timeout=10).status_code == 404
                until(found, f"{name} doesn't reach the owner")
            for _ in range(4):
                assert requests.get(proxy.url(path), timeout=10).status_code == 404
            # Caddy ends when the reader has ended.
            reader.count = publisher.count
            assert requests.post(url, headers={"Stream-Closed": "true"}, timeout=30).ok
            reader.join(timeout=30)
