"""Helpers of the browser tests."""

import os
import pathlib
import urllib.parse

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No name resolves: only the server under test responds, by its address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {
        "color_scheme": "light",
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
    },
}


class Witness:
    """Observes the requests and the console errors of a page and of the pages that it opens. Create it
    before the page loads.

    A violation of a page's content security policy is among the console's errors.
    """

    def __init__(self, page):
        self.asked = []
        self.problems = []
        context = page.context
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        context.on("console", self._console)

    def _console(self, said):
        if said.type in ("error", "warning"):
            self.problems.append(said.text)

    def hosts(self):
        urls = (urllib.parse.urlsplit(url) for url in self.asked)
        return {url.netloc for url in urls if url.scheme not in ("data", "blob")}

    def assert_all_is_well(self, server):
        assert self.hosts() == {f"127.0.0.1:{server.port}"}
        assert not self.problems, self.problems


def assert_nothing_runs_out_at_the_side(page):
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1], widths


def screenshot(page, name):
    """A screenshot for people."""
    folder = os.environ.get("HEADWATER_SCREENSHOTS")
    if folder:
        path = pathlib.Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=path / name, full_page=True)
