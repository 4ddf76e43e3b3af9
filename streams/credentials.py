"""What Faust is to show the broker: the same as every other client (sensors/connection.py)."""

from __future__ import annotations

import faust

from sensors.connection import connection


def credentials(broker: str) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """For ``faust.App(broker_credentials=…)``; None where connections are plain."""
    options = connection(broker)
    if "ssl_context" not in options:
        return None
    if "sasl_mechanism" not in options:
        return faust.SSLCredentials(options["ssl_context"])
    return faust.SASLCredentials(
        username=options["sasl_plain_username"],
        password=options["sasl_plain_password"],
        ssl_context=options["ssl_context"],
        mechanism=options["sasl_mechanism"],
    )
