"""The tour in its own process."""

import re
import signal
import subprocess
import threading
import time

import ports
from programs import binary


class Tour:
    """A running tour. `port` stays the same across restarts."""

    # The environment variable with the program's path.
    program = "HEADWATER_TOUR"
    # The arguments that select the subcommand, if there are several.
    command = ()
    # The start of the line with its address.
    ready = "listening on http://127.0.0.1:"

    def __init__(self, *args):
        self.args = args
        self.port = ports.stable()
        self.process = None
        self.lines = []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        listen = ["--listen", f"127.0.0.1:{self.port}"]
        command = [binary(self.program), *self.command, *listen, *self.args]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.lines = []
        threading.Thread(
            target=self._read, args=(self.process.stdout, self.lines), daemon=True
        ).start()
        try:
            self.wait_for_line(f"{self.ready}{self.port}", seconds=30)
        except AssertionError:
            self.kill()
            raise

    @staticmethod
    def _read(output, lines):
        for line in output:
            lines.append(re.sub(r"\x1b\[[0-9;]*m", "", line.decode(errors="replace")).rstrip())

    def wait_for_line(self, *parts, seconds=10):
        """The first line of its log that contains all parts. It logs a request at its end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.lines[:]:
                if all(part in line for part in parts):
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the tour did not say {parts}: {self.lines}")

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def terminate(self):
        """Stops it by SIGTERM. Returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=15)

    def kill(self):
        """Kills it, like a crash."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
