"""How the archive waits before it tries again."""

from __future__ import annotations

import asyncio

from streams.archive.sender import Backoff


def late(times: int) -> Backoff:
    """One that has waited so often already."""
    backoff = Backoff()
    for _ in range(times):
        backoff.next_delay()
    return backoff


def test_each_wait_is_longer_up_to_ten_seconds_and_by_chance() -> None:
    waits = [[late(n).next_delay() for _ in range(100)] for n in range(12)]
    for n, some in enumerate(waits):
        most = min(0.2 * 2**n, 10.0)
        assert all(most / 2 <= wait <= most for wait in some)
        assert len(set(some)) > 90  # several archives do not come back at once


async def test_whoever_gets_through_wakes_those_that_wait_but_not_twice_running() -> None:
    through, backoff = asyncio.Event(), late(12)
    woken, other = (asyncio.create_task(one.wait(woken=through)) for one in (backoff, late(12)))
    not_woken = asyncio.create_task(late(12).wait())
    await asyncio.sleep(0)
    through.set()
    await asyncio.wait({woken, other})
    again = asyncio.create_task(backoff.wait(woken=through))
    fresh = asyncio.create_task(late(12).wait(woken=through))
    await fresh
    assert not again.done()
    assert not not_woken.done()
    for task in (again, not_woken):
        task.cancel()
