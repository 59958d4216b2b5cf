"""Arrival times of items."""

import time


def timed(items, count):
    """The first `count` items, each with its arrival time."""
    seen = []
    for item in items:
        seen.append((time.monotonic(), item))
        if len(seen) == count:
            break
    return seen


def assert_spaced(arrivals, seconds):
    """Fails if items that were sent `seconds` apart arrive in batches.

    A buffer between server and client would deliver later items together with the first.
    """
    times = [at for at, _ in arrivals]
    assert len(times) > 2
    for before, after in zip(times, times[1:]):
        assert seconds * 0.5 < after - before < seconds * 1.5 + 0.1, times
