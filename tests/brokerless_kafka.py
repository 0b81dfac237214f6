"""A broker that names itself once, and after that says that there is none: what a lone one says that has stood still.

librdkafka's mock cluster cannot say so. It speaks as much of the protocol as a client needs to be told: ApiVersions 0 and
Metadata 2 (kafka.apache.org/protocol).
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

API_VERSIONS, METADATA = 18, 3
METADATA_VERSION = 2
UNSUPPORTED_VERSION = 35
HOST = "127.0.0.1"


class Brokerless:
    def __init__(self) -> None:
        self.is_there = True
        """Whether it names itself."""
        self._socket = socket.create_server((HOST, 0))
        self._port = self._socket.getsockname()[1]
        self.bootstrap = f"{HOST}:{self._port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as requests, contextlib.suppress(OSError):
            while size := requests.read(4):
                key, version, correlation = struct.unpack_from(">hhi", requests.read(struct.unpack(">i", size)[0]))
                said = self._versions(version) if key == API_VERSIONS else self._metadata()
                answer = struct.pack(">i", correlation) + said
                connection.sendall(struct.pack(">i", len(answer)) + answer)

    def _versions(self, version: int) -> bytes:
        known = ((API_VERSIONS, 0, 0), (METADATA, METADATA_VERSION, METADATA_VERSION))
        listed = b"".join(struct.pack(">hhh", *one) for one in known)
        return struct.pack(">hi", UNSUPPORTED_VERSION if version else 0, len(known)) + listed

    def _metadata(self) -> bytes:
        host = HOST.encode()
        myself = struct.pack(f">ih{len(host)}sih", 1, len(host), host, self._port, -1)  # no rack
        brokers = struct.pack(">i", 1) + myself if self.is_there else struct.pack(">i", 0)
        controller = 1 if self.is_there else -1
        return brokers + struct.pack(">hii", -1, controller, 0)  # no cluster's name, and no topics


@contextlib.contextmanager
def running() -> Iterator[Brokerless]:
    made = Brokerless()
    try:
        yield made
    finally:
        made.close()
