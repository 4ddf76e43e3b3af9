"""What went wrong with Kafka, as the error that ends a command."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from sensors.errors import RunError

log = logging.getLogger("kapok")


def as_run_error(error: BaseException, broker: str) -> RunError:
    """What a process ends with: a RunError as it is, one of Kafka or the network by its name; a fault of ours is logged
    in full.
    """
    if isinstance(error, RunError):
        return error
    if isinstance(error, KafkaError | OSError):
        return RunError(f"the Kafka at {broker} failed: {error!r}")
    log.error("unexpected error", exc_info=error)
    return RunError(f"unexpected error: {error!r}")


@contextmanager
def kafka_errors(what: str) -> Iterator[None]:
    """RunError, ``what`` and why, in place of a KafkaError: ``with kafka_errors(f"the Kafka at {broker} failed"):``."""
    try:
        yield
    except KafkaError as error:
        raise RunError(f"{what}: {error}") from error
