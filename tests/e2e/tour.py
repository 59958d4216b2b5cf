"""The tour as a process of its own."""

import queue
import re
import signal
import subprocess
import threading

from programs import binary


class Tour:
    """A running tour. `port` stays the same when it is restarted."""

    def __init__(self, *args):
        self.args = args
        self.port = 0
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        command = [binary("HEADWATER_TOUR"), "--listen", f"127.0.0.1:{self.port}", *self.args]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.process.stdout, lines), daemon=True).start()
        seen = []
        while True:
            try:
                line = lines.get(timeout=10)
            except queue.Empty:
                line = None
            if line is None:
                self.kill()
                raise AssertionError(f"the tour did not say where it listens: {seen}")
            seen.append(line)
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return

    @staticmethod
    def _read(output, lines):
        for line in output:
            lines.put(re.sub(r"\x1b\[[0-9;]*m", "", line.decode(errors="replace")))
        lines.put(None)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def terminate(self):
        """Stops it as an operator does. Gives the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=15)

    def kill(self):
        """Ends it as a crash does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
