"""When items arrive."""

import time


def timed(items, count):
    """The first `count` items, each with the time at which it came."""
    seen = []
    for item in items:
        seen.append((time.monotonic(), item))
        if len(seen) == count:
            break
    return seen


def assert_spaced(arrivals, seconds):
    """Fails when items that were sent `seconds` apart came in bunches.

    Something on the way that gathers items would bring the later ones at once with the first.
    """
    times = [at for at, _ in arrivals]
    assert len(times) > 2
    for before, after in zip(times, times[1:]):
        assert seconds * 0.5 < after - before < seconds * 1.5 + 0.1, times
