"""A worker's answers from Kafka: whole, in order, whatever pieces they come in."""

from __future__ import annotations

import asyncio
import logging
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import frames
from streams.certificates import Authority


def answer(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


@asynccontextmanager
async def reading(pieces: list[bytes], tls: Path | None = None, pause: float = 0.0) -> AsyncIterator[Any]:
    """A reader at the other end of a connection on which these pieces are sent, and then the end."""

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(pause)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    here = there = None
    if tls is not None:
        authority = Authority(tls)
        authority.issue(tls / "broker.pem", "broker", ["127.0.0.1"])
        here, there = (
            ssl.create_default_context(cadata=authority.text.decode()),
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        )
        there.load_cert_chain(tls / "broker.pem")
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(send, "127.0.0.1", 0, ssl=there) as server:
        reader = asyncio.StreamReader(loop=loop)
        protocol = frames._Protocol(loop.create_future(), reader, loop=loop)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port, ssl=here)
        yield reader
        transport.close()


async def all_of(reader: Any) -> tuple[list[bytes], BaseException]:
    """The answers, and how they ended."""
    found = []
    try:
        while True:
            found.append(bytes(await reader.frame()))
    except (OSError, EOFError, ValueError) as error:
        return found, error


@given(
    st.lists(st.sampled_from([0, 1, 5, 4092, 65_531, 65_532, 65_533, 131_064, 300_000]), max_size=8),
    st.integers(0, 1 << 30),
    st.integers(0, 3),
)
async def test_they_come_as_they_were_sent_and_the_end_is_told(sizes: list[int], seed: int, missing: int) -> None:
    rng = Random(seed)
    bodies = [rng.randbytes(size) for size in sizes]
    sent = b"".join(map(answer, bodies)) + b"\0\0\1"[:missing]
    edges = sorted(rng.choices(range(len(sent) + 1), k=rng.randrange(10)))
    pieces = [sent[a:b] for a, b in zip([0, *edges], [*edges, len(sent)], strict=True)]
    async with reading(pieces) as reader:
        found, end = await all_of(reader)
    assert found == bodies
    assert isinstance(end, asyncio.IncompleteReadError)
    assert len(end.partial) == missing


@pytest.mark.parametrize("size", [5, 300_000])
async def test_an_answer_and_the_end_at_once_over_tls(
    size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with reading([answer(b"x" * size)], tls=tmp_path, pause=0.1) as reader:
            found, end = await all_of(reader)
    assert found == [b"x" * size]
    assert isinstance(end, asyncio.IncompleteReadError)
    assert not caplog.records


async def test_what_is_no_kafka_gets_no_room_for_what_it_seems_to_announce() -> None:
    """A broker that expects TLS answers with an alert: as a size, 352 MB."""
    async with reading([bytes.fromhex("15030300020246")]) as reader:
        _, end = await all_of(reader)
        assert len(reader._bytes) <= 1 << 27
    assert isinstance(end, asyncio.IncompleteReadError)
    async with reading([b"\xff\xff\xff\xff"]) as reader:
        _, end = await all_of(reader)
    assert isinstance(end, ValueError)
