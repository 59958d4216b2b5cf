"""Common fixtures: the tour as a process, and a recorder in front of it."""

import pytest
from playwright.sync_api import sync_playwright

from hub import Hub
from looking import FLAGS
from programs import binary, program
from recorder import Recorder
from tour import Tour


@pytest.fixture(scope="session")
def tour():
    """One tour for all tests that don't change it."""
    with Tour() as tour:
        yield tour


@pytest.fixture
def own_tour():
    """A tour for a test that restarts or kills it."""
    with Tour() as tour:
        yield tour


@pytest.fixture(scope="session", params=["memory", "disk"])
def hub(request, tmp_path_factory):
    """One hub for all tests that don't change it, over each engine."""
    data = tmp_path_factory.mktemp("hub") if request.param == "disk" else None
    with Hub(data) as hub:
        yield hub


@pytest.fixture
def own_hub(tmp_path):
    """A hub on disk for a test that restarts or kills it."""
    with Hub(tmp_path / "data") as hub:
        yield hub


@pytest.fixture
def recorder(own_tour):
    """A proxy in front of `own_tour` that records the traffic."""
    with Recorder(own_tour.port) as recorder:
        yield recorder


# Not for the whole session: while it is open, Playwright runs an event loop on this thread, and
# tests of asynchronous clients could not have theirs.
@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # Each launch has a new user-data-dir.
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    context = browser.new_context()
    page = context.new_page()
    yield page
    context.close()


@pytest.fixture(scope="session")
def curl():
    return program("curl")


@pytest.fixture(scope="session")
def cli():
    return binary("HEADWATER_CLI")
