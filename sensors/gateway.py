"""A publisher of readings: what a gateway does, small enough to read before writing one in another language.

    async with Gateway("127.0.0.1:9092", Catalogue.shipped()) as gateway:
        await gateway.publish("GZ-TH-0012", depth=0.23)

Readings of one zone that come close together go out as one SenML pack, with the zone as the record's key, to
``readings.<kind>``. Every sensor is to publish at its interval, also when there is nothing to say: otherwise
nobody can tell quiet from dead.
"""

from __future__ import annotations

import asyncio
import math
import time
from datetime import datetime
from types import TracebackType

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from sensors import senml
from sensors.catalogue import Catalogue, Sensor
from sensors.connection import connection, refusal, user
from sensors.errors import InputError, RunError
from sensors.producer import started
from sensors.quantities import KINDS, QUANTITIES, topic

Reading = tuple[str, str, int, float | bool]  # sensor, quantity, time in ms, value


class Gateway:
    """Publishes readings of the catalogue's sensors, ``acks=all`` and idempotently.

    ``linger_ms``: how long a reading waits for others of its zone; ``pack_size``: how many go at once.
    What could not be sent is an error (RunError) of the next ``publish`` or ``flush``, or of leaving.
    """

    def __init__(
        self,
        brokers: str,
        catalogue: Catalogue,
        prefix: str = "",
        *,
        linger_ms: float = 5.0,
        pack_size: int = 500,
    ) -> None:
        self.brokers, self.catalogue, self.prefix = brokers, catalogue, prefix
        self._linger, self._pack_size = linger_ms / 1000, pack_size
        self._waiting: dict[tuple[str, str], list[Reading]] = {}  # by kind and zone
        self._lingering: asyncio.Task[None] | None = None
        self._in_order = asyncio.Lock()  # packs of a zone leave in the order in which they were filled
        self._failed: BaseException | None = None

    async def __aenter__(self) -> Gateway:
        await self._check_topics()
        self._producer = await started(self.brokers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.flush()
        finally:
            if self._lingering is not None:
                self._lingering.cancel()
            await self._producer.stop()

    async def publish(self, sensor: str, *, at: datetime | float | None = None, **quantities: float | bool) -> None:
        """Takes what a sensor measured, such as ``depth=0.23`` or ``**{"in": 3, "out": 1}``.

        ``at``: when, as a datetime with its time zone or in seconds since 1970; None is now, by the gateway's
        clock. A sensor gives a quantity once for each time. InputError where it is not as the catalogue says.
        """
        self._raise_failure()
        known = self._sensor(sensor)
        time_ms = _milliseconds(at)
        readings = [(sensor, q, time_ms, _checked(known, q, value)) for q, value in quantities.items()]
        if not readings:
            raise InputError(f"nothing to publish for {sensor}", hint=f"give {_quantities(known)}")
        key = known.kind, known.zone
        waiting = self._waiting.setdefault(key, [])
        waiting += readings
        if len(waiting) >= self._pack_size:
            await self._send_waiting([key])
        elif self._lingering is None or self._lingering.done():
            self._lingering = asyncio.create_task(self._after_a_while())

    async def send(self, kind: str, zone: str, pack: bytes, timestamp_ms: int | None = None) -> None:
        """Sends a pack that is one already, as the simulators make them; ``timestamp_ms`` is the record's."""
        self._raise_failure()
        async with self._in_order:
            await self._send(kind, zone, pack, timestamp_ms)

    async def flush(self) -> None:
        """Sends what is waiting, and returns when the broker has acknowledged all that was published."""
        await self._send_waiting(list(self._waiting))
        await self._producer.flush()
        self._raise_failure()

    async def _after_a_while(self) -> None:
        await asyncio.sleep(self._linger)
        await self._send_waiting(list(self._waiting))

    async def _send_waiting(self, keys: list[tuple[str, str]]) -> None:
        async with self._in_order:
            for kind, zone in keys:
                readings = self._waiting.pop((kind, zone), None)
                if readings:
                    await self._send(kind, zone, senml.encode(readings), None)

    async def _send(self, kind: str, zone: str, pack: bytes, timestamp_ms: int | None) -> None:
        name = self.prefix + topic(kind)
        if name not in self._topics:
            self._failed = self._without(name)
            return
        try:
            sent = await self._producer.send(name, pack, zone.encode(), timestamp_ms=timestamp_ms)
        except KafkaError as error:
            self._failed = error
        else:
            sent.add_done_callback(self._acknowledged)

    def _acknowledged(self, sent: asyncio.Future[object]) -> None:
        if not sent.cancelled() and sent.exception() is not None:
            self._failed = sent.exception()

    def _raise_failure(self) -> None:
        if self._failed is not None:
            failed, self._failed = self._failed, None
            if isinstance(failed, RunError):
                raise failed
            raise RunError(f"readings could not be sent to {self.brokers}: {failed}") from failed

    async def _check_topics(self) -> None:
        """A broker makes a topic that is asked for, with whatever number of partitions: so look first.

        Where gateways log in, each sees only the topics that it may write.
        """
        admin = AIOKafkaAdminClient(**connection(self.brokers))
        try:
            await admin.start()
            there = set(await admin.list_topics())
        except KafkaError as error:
            raise RunError(f"no Kafka at {self.brokers}: {await refusal(self.brokers) or error}") from error
        finally:
            await admin.close()
        wanted = {self.prefix + topic(kind) for kind in KINDS}
        self._topics, missing = wanted & there, wanted - there
        if missing and (user() is None or not self._topics):
            raise self._without(", ".join(sorted(missing)))

    def _without(self, name: str) -> RunError:
        if user() is None:
            return RunError(f"{self.brokers} has no topic {name}; start `kapok worker` first, it makes them")
        return RunError(f"{self.brokers} has no topic {name} that {user()!r} may write; see docs/security.md")

    def _sensor(self, sensor: str) -> Sensor:
        known = self.catalogue.sensors.get(sensor)
        if known is None:
            hint = "it is a place" if sensor in self.catalogue.places else "add it to sites.geojson"
            raise InputError(f"no sensor {sensor!r} in the catalogue", hint=hint)
        return known


def _checked(sensor: Sensor, quantity: str, value: float | bool) -> float | bool:
    if quantity not in QUANTITIES[sensor.kind]:
        what = f"{sensor.id} is a sensor of kind {sensor.kind} and has no {quantity!r}"
        raise InputError(what, hint=f"give {_quantities(sensor)}")
    number = isinstance(value, int | float) and math.isfinite(value)
    if not number or (isinstance(value, bool) and sensor.kind != "infrared"):
        raise InputError(f"{quantity} of {sensor.id} is {value!r}", hint="give a number")
    return value


def _quantities(sensor: Sensor) -> str:
    return " or ".join(QUANTITIES[sensor.kind])


def _milliseconds(at: datetime | float | None) -> int:
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise InputError(f"the time {at} has no time zone", hint="datetime.now(UTC) has one")
        at = at.timestamp()
    return senml.to_ms(time.time() if at is None else at)
