"""Ports for servers that are restarted, or that can't report a port which the system chose."""

import pathlib
import random
import socket

LOWEST = 10_000


def stable():
    """A free port that stays free while nothing listens on it.

    It is below the range from which the system chooses, so no connection and no other server of the tests, many of which
    run at the same time, gets it by chance.
    """
    chosen = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    end = int(chosen[0])
    while end > LOWEST:
        port = random.randrange(LOWEST, end)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    # The system chooses from all ports.
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
