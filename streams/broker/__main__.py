"""``python -m streams.broker PORT``: the process of ``streams.embedded_broker``."""

import asyncio
import sys

from streams.broker.server import Broker

asyncio.run(Broker(int(sys.argv[1])).serve())
