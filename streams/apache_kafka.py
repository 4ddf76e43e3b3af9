"""A real Apache Kafka, one node on loopback, for tests, benchmarks and fault injection.

Java 17 runs it; Maven fetches its jars once into the user's cache. For production see docker/ and
https://kafka.apache.org/documentation/#quickstart.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from sensors.errors import RunError
from streams.access import ADMIN_LISTENER, BROKER, CLIENTS_LISTENER, CONTROLLER_LISTENER, broker_settings
from streams.child import Child, accepts, free_port

VERSION = "4.1.1"
READY_SECONDS = 60.0
_TURNED_AWAY = ("kafka.authorizer.logger", "org.apache.kafka.common.network.Selector")  # they log who was, and why
_LIKE_ITS_OWN_SCRIPT = ("-Xms1g", "-Xmx1g", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>kapok</groupId><artifactId>apache-kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""


def missing() -> str | None:
    """What this system lacks to run Apache Kafka, or None."""
    lacking = [name for name in ("java", "mvn") if shutil.which(name) is None]
    return f"Apache Kafka needs {' and '.join(lacking)} on the PATH (Java 17, Maven)" if lacking else None


def jars() -> Path:
    """The folder with Kafka's jars; Maven fetches them when they are not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / f"kapok/apache-kafka-{VERSION}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:  # renamed when complete: two may start at once
        pom, fetched = Path(work, "pom.xml"), Path(work, "jars")
        pom.write_text(_POM)
        command = [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(pom),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={fetched}",
        ]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RunError(f"Maven could not fetch Apache Kafka:\n{(result.stdout + result.stderr).strip()[-2000:]}")
        try:
            fetched.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


class ApacheKafka:
    """``with ApacheKafka(folder) as kafka: kafka.address`` is ``127.0.0.1:PORT``.

    The same folder started again has the same topics, and a broker that was killed can be started again at the
    same address. ``settings`` are more lines of Kafka's server.properties. Sessions as short as 1 s are allowed,
    so that a worker that dies is missed soon.

    Clients connect to the address that a broker tells them, whatever the one they asked first. ``proxies`` are
    ports on loopback for clients that are to come through a proxy: for each there is a listener that tells its
    clients to connect there, and ``ports[i]`` is where the proxy at ``proxies[i]`` must connect to.

    ``access``: the folder of streams/access.py, for one to which clients come with TLS, a user and a password only;
    its administrator comes to ``admin_address``.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        settings: dict[str, str] | None = None,
        proxies: Sequence[int] = (),
        access: Path | None = None,
    ) -> None:
        self.folder, self.port = folder, port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.ports = [free_port() for _ in proxies]
        self._settings, self._proxies, self._controller = settings or {}, list(proxies), free_port()
        self._access, self._admin, self._cluster = access, free_port(), _identity()
        self.admin_address = f"127.0.0.1:{self._admin}"

    def start(self) -> None:
        """Starts it, without waiting until it is ``ready``."""
        if reason := missing():
            raise RunError(reason)
        classpath = f"{jars()}/*"
        properties = self._write_properties()
        if not (self.folder / "log").exists():
            self._format(classpath, properties)
        java = [
            "java",
            *_LIKE_ITS_OWN_SCRIPT,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *(f"-Dorg.slf4j.simpleLogger.log.{name}=info" for name in _TURNED_AWAY),
            "-cp",
            classpath,
        ]
        self.process = Child("Apache Kafka", [*java, "kafka.Kafka", properties], self.folder / "kafka.log")

    def ready(self) -> bool:
        """Whether it takes connections."""
        return accepts(self.port)

    def __enter__(self) -> ApacheKafka:
        self.start()
        self.process.wait_for(self.ready, READY_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()

    @classmethod
    def together(cls, folder: Path, size: int) -> list[ApacheKafka]:
        """So many that are brokers and controllers of one cluster, each with a folder of its own, not yet started.

        Each has a copy of what Kafka keeps for itself. They are ready when more than half of them are started.
        """
        nodes = [cls(folder / str(number)) for number in range(1, size + 1)]
        voters = ",".join(f"{number}@127.0.0.1:{node._controller}" for number, node in enumerate(nodes, 1))
        copies = {f"{name}.replication.factor": str(size) for name in ("offsets.topic", "transaction.state.log")}
        for number, node in enumerate(nodes, 1):
            node._cluster = nodes[0]._cluster
            node._settings = {"node.id": str(number), "controller.quorum.voters": voters, **copies}
        return nodes

    def _write_properties(self) -> Path:
        if self._access is None:
            listeners = {"PLAINTEXT": (self.port, self.port)}  # name: port, port that clients are told
            listeners |= {f"PROXY{n}": pair for n, pair in enumerate(zip(self.ports, self._proxies, strict=True))}
            security = {
                "controller.listener.names": CONTROLLER_LISTENER,
                "listener.security.protocol.map": ",".join(f"{n}:PLAINTEXT" for n in (CONTROLLER_LISTENER, *listeners)),
            }
        else:
            listeners = {
                CLIENTS_LISTENER: (self.port, self.port),
                ADMIN_LISTENER: (self._admin, self._admin),
            }
            security = broker_settings(self._access.absolute() / BROKER)
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "listeners": ",".join(
                [f"{CONTROLLER_LISTENER}://127.0.0.1:{self._controller}"]
                + [f"{name}://127.0.0.1:{port}" for name, (port, _) in listeners.items()]
            ),
            "advertised.listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, (_, port) in listeners.items()),
            **security,
            "log.dirs": str(self.folder / "log"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            "broker.session.timeout.ms": "3000",  # one that was killed is let in again only when it is missed
            "broker.heartbeat.interval.ms": "500",
            "group.min.session.timeout.ms": "1000",
            **self._settings,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return properties

    def _format(self, classpath: str, properties: Path) -> None:
        command = [
            "java",
            "-cp",
            classpath,
            "kafka.tools.StorageTool",
            "format",
            "-c",
            str(properties),
            "-t",
            self._cluster,
        ]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RunError(f"Apache Kafka could not format {self.folder}:\n{(result.stdout + result.stderr)[-2000:]}")


def _identity() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
