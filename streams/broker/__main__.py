"""``python -m streams.broker PORT``: the process of ``streams.embedded_broker``."""

import asyncio
import sys


def main() -> None:
    # kio imports hypothesis where there is one, for its own tests, which takes longer than all the rest.
    sys.modules["hypothesis"] = None  # type: ignore[assignment]
    from streams.broker.server import Broker

    asyncio.run(Broker(int(sys.argv[1])).serve())


main()
