"""Tells one person one thing: the best channel first, the next one when it fails, then all again with pauses."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import tzinfo
from typing import Final, Literal, Protocol

from alerts.cases.notification import Notification, Receipt
from alerts.delivery.channel import Channels
from alerts.delivery.text import TIMEZONE, words

ROUNDS: Final = 7  # through all channels of a person; with the pauses that is a minute, and some for each timeout
_PAUSE_FIRST_S, _PAUSE_MOST_S = 1.0, 60.0


class Addressee(Protocol):
    """A person of the directory, as far as delivery wants to know."""

    @property
    def language(self) -> str: ...

    @property
    def contacts(self) -> dict[str, str]:
        """channel → apprise URL, the best first."""
        ...


Receive = Callable[[Receipt], Awaitable[None]]


class Courier:
    """``people`` finds a person by id; None when the directory has no such person."""

    def __init__(
        self,
        people: Callable[[str], Addressee | None],
        channels: Channels | None = None,
        *,
        base_url: str | None = None,
        timezone: tzinfo = TIMEZONE,
        rounds: int = ROUNDS,
        pause_s: float = _PAUSE_FIRST_S,
    ) -> None:
        self._people, self._channels = people, channels or Channels()
        self._base_url, self._timezone = base_url, timezone
        self._rounds, self._pause_s = rounds, pause_s

    async def deliver(
        self, notification: Notification, receive: Receive, tried: Counter[str], stopping: asyncio.Event
    ) -> bool:
        """Tries until a channel has taken it or all have failed ``rounds`` times; False when ``stopping`` before that.

        ``receive`` gets a receipt of each attempt, and returns when it is kept. ``tried``: the attempts that there were
        before, by channel; it is counted on.
        """
        person = self._people(notification.to)
        if person is None or not person.contacts:
            what = "not in the directory" if person is None else "the directory has no contact of this person"
            await receive(_receipt(notification, "none", tried["none"] + 1, "gave_up", what))
            return True
        text = words(notification, person.language, self._base_url, self._timezone)
        begun = min(tried[channel] for channel in person.contacts)
        for number in range(min(begun, self._rounds - 1), self._rounds):
            if number > begun:
                pause = min(self._pause_s * 2 ** (number - 1), _PAUSE_MOST_S)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), pause * random.uniform(0.5, 1))
            left = len(person.contacts)
            # Those that have been down of late come last: somebody else has waited for them already.
            for channel, url in sorted(person.contacts.items(), key=lambda one: self._channels.line(one[1]).down):
                if stopping.is_set():
                    return False
                left -= 1
                tried[channel] += 1
                fault = await self._channels.send(url, notification.id, text)
                status: Status = "delivered" if fault is None else "failed"
                if fault is not None and not left and number == self._rounds - 1:
                    status = "gave_up"
                await receive(_receipt(notification, channel, tried[channel], status, fault))
                if fault is None:
                    return True
        return True


Status = Literal["delivered", "failed", "gave_up"]


def _receipt(notification: Notification, channel: str, attempt: int, status: Status, detail: str | None) -> Receipt:
    return Receipt(
        id=f"{notification.id}/{channel}/{attempt}",
        notification=notification.id,
        case=notification.case,
        to=notification.to,
        channel=channel,
        attempt=attempt,
        status=status,
        at=time.time_ns() // 1_000_000,
        detail=detail,
    )
