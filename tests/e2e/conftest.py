"""What the tests share: the tour as a process, and a recorder in front of it."""

import pytest
from playwright.sync_api import sync_playwright

from looking import FLAGS
from programs import binary, program
from recorder import Recorder
from tour import Tour


@pytest.fixture(scope="session")
def tour():
    """One tour for all the tests that leave it as it is."""
    with Tour() as tour:
        yield tour


@pytest.fixture
def own_tour():
    """A tour for a test that restarts or kills it."""
    with Tour() as tour:
        yield tour


@pytest.fixture
def recorder(own_tour):
    """A proxy in front of `own_tour` that keeps what passed through it."""
    with Recorder(own_tour.port) as recorder:
        yield recorder


# Not for the whole session: while it is open, Playwright has an event loop on this thread, and
# tests of asynchronous clients could not have theirs.
@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # A fresh user-data-dir comes with every launch.
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
