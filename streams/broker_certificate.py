"""How long the broker's certificate still holds: nobody sees it coming otherwise, and then nobody gets in."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from sensors.connection import connection

_EVERY_S = 60.0
_PATIENCE_S = 10.0


class Certificate:
    """``until``: when the certificate that the broker shows ends, in s since 1970; None where connections are plain."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self.until: float | None = None

    async def run(self) -> None:
        """Looks once a minute until cancelled; where no broker lets itself be looked at, the last one holds."""
        context = connection(self._broker).get("ssl_context")
        while context is not None:
            found = [end for address in self._broker.split(",") if (end := await _end(address.strip(), context))]
            self.until = min(found, default=self.until)
            await asyncio.sleep(_EVERY_S)


async def _end(address: str, context: ssl.SSLContext) -> float | None:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            shown = writer.get_extra_info("peercert")
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return float(ssl.cert_time_to_seconds(shown["notAfter"]))
    return None
