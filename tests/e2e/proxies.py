"""The reverse proxies of docs/proxies, run with exactly those files except for the ports."""

import pathlib
import socket
import subprocess
import tempfile
import time

import ports
from programs import program

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "proxies"

# The configuration that includes the documented file.
NGINX = """
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
    {site}
}}
"""

# nginx with its defaults: no settings for buffering, HTTP versions or timeouts.
PLAIN_NGINX = """
server {
    listen 8080;
    location / {
        proxy_pass http://127.0.0.1:8000;
    }
}
"""

CADDY = """
{{
    admin off
    default_bind 127.0.0.1
}}
{site}
"""


class Proxy:
    """A proxy in front of `upstream`, a port of the loopback interface, with the documented file or with `site`,
    to which `changes` are applied."""

    def __init__(self, name, upstream, changes=(), site=None):
        self.name = name
        self.upstream = upstream
        self.changes = changes
        self.site = site

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix=f"headwater-{self.name}-")
        folder = pathlib.Path(self.folder.name)
        # nginx's workers drop root privileges, but still need the folder.
        folder.chmod(0o755)
        self.port = ports.stable()
        is_nginx = self.name == "nginx"
        documented = FOLDER / ("nginx.conf" if is_nginx else "Caddyfile")
        site = self.site or documented.read_text()
        listen = f"127.0.0.1:{self.port}" if is_nginx else f"http://:{self.port}"
        addresses = [
            ("listen 8080;", f"listen {listen};") if is_nginx else (":8080 {", f"{listen} {{"),
            ("127.0.0.1:8000", f"127.0.0.1:{self.upstream}"),
        ]
        for there, here in [*addresses, *self.changes]:
            assert site.count(there) == 1, there
            site = site.replace(there, here)
        config = folder / "config"
        config.write_text((NGINX if is_nginx else CADDY).format(folder=folder, site=site))
        if is_nginx:
            command = [program("nginx"), "-p", folder, "-c", config, "-e", folder / "error.log"]
        else:
            command = [program("caddy"), "run", "--config", config, "--adapter", "caddyfile"]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"}
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A quick shutdown, which also ends nginx's workers.
        self.process.terminate()
        self.process.wait(timeout=10)
        self.folder.cleanup()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def _wait_until_it_answers(self):
        log = pathlib.Path(self.folder.name) / "log"
        for _ in range(200):
            assert self.process.poll() is None, f"{self.name} did not start: {log.read_text()}"
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"{self.name} does not answer: {log.read_text()}")
