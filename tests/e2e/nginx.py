"""nginx as a reverse proxy, with the settings that it has by default."""

import pathlib
import socket
import subprocess
import tempfile
import time

from programs import program

# Nothing about buffering, HTTP versions or time-outs: `proxy_pass` and no more.
CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
        }}
    }}
}}
"""


class Nginx:
    """An nginx in front of `upstream`, a port of the loopback interface."""

    def __init__(self, upstream):
        self.upstream = upstream

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="headwater-nginx-")
        folder = pathlib.Path(self.folder.name)
        # Its workers leave root behind, and need the folder all the same.
        folder.chmod(0o755)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        config = folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=folder, port=self.port, upstream=self.upstream))
        self.process = subprocess.Popen(
            [program("nginx"), "-p", folder, "-c", config, "-e", folder / "error.log"]
        )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A quick shutdown, which ends the workers too.
        self.process.terminate()
        self.process.wait(timeout=10)
        self.folder.cleanup()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def _wait_until_it_answers(self):
        for _ in range(100):
            assert self.process.poll() is None, "nginx did not start"
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("nginx does not answer")
