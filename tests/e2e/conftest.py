"""What the tests share: the tour as a process, and a recorder in front of it."""

import pytest

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


@pytest.fixture(scope="session")
def curl():
    return program("curl")


@pytest.fixture(scope="session")
def cli():
    return binary("HEADWATER_CLI")
