"""Streams move from a hub to another one: folder, cluster, folder."""

import json
import subprocess
import threading
import time

import httpx
import httpx_sse
import requests

from cluster import ClusterHub, NatsServer
from hub import Hub, lines
from programs import binary


def command(*args, **options):
    options = {"capture_output": True, "timeout": 60} | options
    return subprocess.run([binary("HEADWATER_CLI"), *args], **options)


def export(hub, *args):
    done = command("export", "--hub", hub.url(""), *args)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def load(hub, data, *args, code=0):
    done = command("import", "--hub", hub.url(""), *args, input=data)
    assert done.returncode == code, done.stderr.decode()
    return done.stderr.decode()


def events(url, last_id, count):
    """Reads as an EventSource that reconnects with an id. Returns the messages and the ids."""
    seen, ids = [], []
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with httpx.Client(timeout=20) as client:
        with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
            for event in source.iter_sse():
                assert event.event == "message", event
                seen.append(json.loads(event.data))
                ids.append(event.id)
                if len(seen) == count:
                    return seen, ids


def append(url, seq, epoch=0):
    headers = {"Producer-Id": "p", "Producer-Epoch": str(epoch), "Producer-Seq": str(seq)}
    headers["Content-Type"] = "application/json"
    answer = requests.post(url, data=str(seq), headers=headers, timeout=20)
    assert answer.status_code in (200, 204), answer.text
    return answer.status_code


def test_readers_and_producers_continue_from_a_folder_to_a_cluster_and_back(tmp_path):
    with Hub(tmp_path / "one") as one, NatsServer() as server, ClusterHub(server) as cluster:
        with Hub(tmp_path / "two") as two:
            one.create("orders")
            last_id, seq = None, 0
            for hub, following in ((one, cluster), (cluster, two), (two, None)):
                url = hub.url("/streams/orders")
                for _ in range(5):
                    assert append(url, seq) == 200
                    seq += 1
                seen, ids = events(url, last_id, 5)
                assert seen == list(range(seq - 5, seq))
                last_id = ids[-1]
                # The answer to the last append is lost on the way to the next hub.
                if following:
                    load(following, export(hub))
                    assert append(following.url("/streams/orders"), seq - 1) == 204
            assert lines(two.url("/streams/orders")) == list(range(seq))


def test_an_import_continues_after_both_sides_were_killed(tmp_path):
    with Hub() as source:
        for number in range(20):
            url = source.create(f"s/{number}")
            for _ in range(3):
                source.append(url, *({"n": n, "text": "x" * 200} for n in range(1500)))
        data = export(source)
        expected = {f"s/{n}": lines(source.stream(f"s/{n}")) for n in range(20)}
        folder = tmp_path / "data"
        target = Hub(folder)
        with target:
            for part in (3, 2):
                running = subprocess.Popen(
                    [binary("HEADWATER_CLI"), "import", "--hub", target.url("")],
                    stdin=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                running.stdin.write(data[: len(data) // part])
                running.stdin.flush()
                time.sleep(0.5)
                if part == 3:
                    running.kill()
                else:
                    target.kill()
                    target.start()
                running.communicate(timeout=30)
                listed = requests.get(target.url("/streams?limit=100"), timeout=10).json()
                for stream in listed["streams"]:
                    assert stream["messages"] == 4500, stream
            said = load(target, data)
            assert "there already" in said, said
            for path, messages in expected.items():
                assert lines(target.stream(path)) == messages


def test_an_export_during_appends_is_whole(tmp_path):
    with Hub(tmp_path / "one") as one, Hub(tmp_path / "two") as two:
        url = one.create("orders")
        stop = threading.Event()

        def publish():
            seq = 0
            while not stop.is_set():
                append(url, seq)
                seq += 1

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            while len(lines(url)) < 50:
                time.sleep(0.05)
            data = export(one)
        finally:
            stop.set()
            publisher.join()
        load(two, data)
        copy = two.stream("orders")
        count = len(lines(copy))
        assert lines(copy) == list(range(count)) and count >= 50
        # The producer's state is that of the copy's tail.
        assert append(copy, count - 1) == 204
        assert append(copy, count) == 200


def test_what_is_wrong_is_said(tmp_path):
    with Hub(tmp_path / "one") as one, Hub(tmp_path / "two") as two:
        one.append(one.create("a"), 1, 2, 3)
        file = tmp_path / "backup.ndjson"
        assert b"1 stream" in command("export", "--hub", one.url(""), "-o", file).stderr
        data = file.read_bytes()
        assert not file.with_name("backup.ndjson.part").exists()
        assert b"complete" in data.splitlines()[-1]

        cut = b"\n".join(data.splitlines()[:-2])
        said = load(two, cut, code=4)
        assert "ends early" in said and "in line 5" in said and "again" in said, said
        assert requests.get(two.stream("a"), timeout=10).status_code == 404
        said = command("import", "--hub", two.url(""), str(file))
        assert said.stderr == b"imported 1 stream\n", said.stderr

        two.append(two.create("b"), 9)
        one.append(one.create("b"), 1)
        said = load(two, export(one), code=4)
        assert '"b" exists' in said, said
        said = load(two, export(one), "--skip-existing")
        assert "1 there already; 1 skipped" in said, said
        assert lines(two.stream("b")) == [9]
        said = command("import", "--hub", two.url(""), str(tmp_path / "none"))
        assert said.returncode == 1 and b"none" in said.stderr
