"""Kafka's answers come out of the buffer whole and in order, however they come in."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.frames import _Reader


def reader() -> _Reader:
    made = _Reader(loop=asyncio.get_running_loop())
    made.begin()
    return made


def put(into: _Reader, data: bytes) -> int:
    """As much as there is room for; how much that was."""
    room = into.room()
    assert len(room)
    count = min(len(room), len(data))
    room[:count] = data[:count]
    into.filled(count)
    return count


@given(
    st.lists(st.one_of(st.integers(0, 40), st.integers(0, 300_000)), min_size=1, max_size=8),
    st.lists(st.integers(1, 150_000), min_size=1, max_size=20),
)
async def test_answers_are_whole_and_in_order(sizes: list[int], steps: list[int]) -> None:
    answers = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    stream = b"".join(struct.pack(">i", len(answer)) + answer for answer in answers)
    source = reader()

    async def pour() -> None:
        done, turn = 0, 0
        while done < len(stream):
            step = stream[done : done + steps[turn % len(steps)]]
            done += put(source, step)
            turn += 1
            await asyncio.sleep(0)

    pouring = asyncio.create_task(pour())
    assert [bytes(await source.frame()) for _ in answers] == answers
    await pouring


async def test_an_answer_that_breaks_off_is_no_answer() -> None:
    source = reader()
    waiting = asyncio.create_task(source.frame())
    put(source, struct.pack(">i", 10) + b"half")
    await asyncio.sleep(0)
    assert not waiting.done()
    source.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await waiting


async def test_what_came_just_before_the_end_is_still_read() -> None:
    source = reader()
    waiting = asyncio.create_task(source.frame())
    await asyncio.sleep(0)
    put(source, struct.pack(">i", 4) + b"last")
    source.feed_eof()
    assert bytes(await waiting) == b"last"
    with pytest.raises(asyncio.IncompleteReadError):
        await source.frame()


async def test_a_broken_connection_is_told_to_who_waits() -> None:
    source = reader()
    waiting = asyncio.create_task(source.frame())
    await asyncio.sleep(0)
    source.set_exception(ConnectionResetError("reset"))
    with pytest.raises(ConnectionResetError):
        await waiting
