"""How a worker takes part in a change of rules: publishes new ones, and announces them where it folds."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import AIOKafkaProducer

from alerts.edition import Edition
from sensors.announcement import RULES_KEY, Announcement, announcement
from sensors.errors import InputError, RunError
from sensors.quantities import KINDS, topic
from sensors.seal import Seal
from streams.partition import Partition
from streams.rules_log import RulesLog

log = logging.getLogger("kapok")

_LOOK_EVERY_S = 0.2


class RuleChanges:
    """``edition``: what this worker was started with; ``reread`` gives what its files say by now.

    Topics that are not ``live`` are a replay's: there all workers have the rules that they were started with, or those
    that the capture brings.
    """

    def __init__(
        self, edition: Edition, reread: Callable[[], Edition] | None, *, live: bool, seal: Seal | None = None
    ) -> None:
        self._edition, self._reread, self._live, self._seal = edition, reread, live, seal

    async def settle(self, rules: RulesLog) -> None:
        """At the start: new rules are published; those that others have taken the place of since are not."""
        self._rules, own = rules, self._edition.ruleset
        if not rules.editions:
            await rules.publish(self._edition)
        elif own == (rules.ruleset if self._live else rules.rulesets[rules.first]):
            return
        elif not self._live:
            what = f"these topics are folded under ruleset {rules.rulesets[rules.first]}, this worker was given {own}"
            raise RunError(f"{what}: give all workers the same --sites and --rules, or use another --prefix")
        elif own in rules.rulesets.values():
            what = "the rules given (%s) were replaced since by %s, which hold: kill -HUP %d puts these back in force"
            log.warning(what, own, rules.ruleset, os.getpid())
        else:
            await rules.publish(self._edition)
            log.info("new rules: ruleset %s", own)

    def reload(self, guarded: Callable[[Awaitable[None]], Awaitable[None]]) -> None:
        """Reads the files again and publishes what they say; what cannot be used changes nothing."""
        if self._reread is None or not self._live:
            log.warning("the rules of a replay stay as they are")
            return
        try:
            edition = self._reread()
        except InputError as error:
            log.error("the rules stay as they were: %s", error)
            return
        if edition.ruleset == self._rules.ruleset:
            log.info("the rules are as they were: ruleset %s", edition.ruleset)
        else:
            log.info("new rules: ruleset %s", edition.ruleset)
            self._publishing = asyncio.ensure_future(guarded(self._rules.publish(edition)))

    async def announce(
        self, producer: AIOKafkaProducer, topics: Mapping[str, str], owned: Callable[[], Sequence[Partition]]
    ) -> None:
        """Until cancelled says in every reading topic of the partitions owned where the newest rules begin.

        One that was announced already, by whoever had the partition before, does no harm when it comes again.
        """
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            newest = self._rules.newest
            for partition in owned():
                for kind in KINDS:
                    if partition.succession.heard(kind) < newest and partition.told[kind] < newest:
                        said = Announcement(newest, self._rules.rulesets[newest], round(time.time()) * 1000)
                        where, value = partition.number, announcement(said)
                        headers = [self._seal.header(topic(kind), where, RULES_KEY, value)] if self._seal else []
                        await producer.send(topics[kind], value, RULES_KEY, where, headers=headers)
                        partition.told[kind] = newest
