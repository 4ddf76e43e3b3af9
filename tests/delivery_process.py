"""Delivery as a process to kill: ``python tests/delivery_process.py BROKER PREFIX PEOPLE``, PEOPLE being JSON."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from receivers import Person

from streams.delivery import Delivery


async def main() -> None:
    broker, prefix, people = sys.argv[1:]
    found = {person: Person(contacts) for person, contacts in json.loads(people).items()}
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Delivery(broker, found.get, prefix=prefix).run(stop)


if __name__ == "__main__":
    asyncio.run(main())
