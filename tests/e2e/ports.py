"""Ports for servers that are restarted, or that can't report a port which the system chose."""

import os
import pathlib
import random
import socket

LOWEST = 10_000


def stable():
    """A free port that stays free while nothing listens on it.

    It is below the range from which the system chooses, so no connection and no other server of the tests, many of which
    run at the same time, gets it by chance. Each process of pytest has a part of these ports.
    """
    chosen = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = max(0, int(chosen[0]) - LOWEST) // processes
    while count:
        # Not `random` itself, which Hypothesis seeds.
        port = LOWEST + process * count + random.SystemRandom().randrange(count)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    # The system chooses from all ports.
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
