"""When a worker puts a fetch off so that the next answer brings more."""

from __future__ import annotations

import pytest

from streams.pacing import Pace


def pace() -> Pace:
    """One whose last fetch was at 10 s, after 5 s of CPU and 1,000 bytes."""
    found = Pace()
    found.fetched(10.0, 5.0, 1000)
    return found


def test_a_worker_that_has_time_does_not_wait() -> None:
    assert pace().rest(10.002, 5.001, 1500) == 0  # less than four fifths of a core
    assert pace().rest(11.0, 5.001, 1500) == 0


def test_a_busy_one_waits_for_a_fifth_of_the_time_but_no_longer_than_8_ms_from_the_last_fetch() -> None:
    assert pace().rest(10.001, 5.001, 1500) == pytest.approx(0.00025)
    assert pace().rest(10.003, 5.003, 1500) == pytest.approx(0.00075)
    assert pace().rest(10.005, 5.007, 1500) == pytest.approx(0.003)
    assert pace().rest(10.009, 5.02, 1500) == 0


def test_none_waits_when_much_comes_at_a_time() -> None:
    assert pace().rest(10.001, 5.02, 1000 + 70_000) == 0
