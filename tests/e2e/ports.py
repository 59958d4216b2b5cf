"""Ports for servers that are restarted, or that can't report a port which the system chose."""

import socket

_held = []


def stable():
    """A port that is free whenever the servers of this test don't listen on it.

    A socket holds it until this process ends, so the system gives it to no other server and to no connection. As the socket
    doesn't listen and has `SO_REUSEADDR`, a server that sets `SO_REUSEADDR` too can listen on the port (socket(7)).
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    return held.getsockname()[1]
