"""A server that takes every connection and never says a word: a broker that stands still, or a machine behind a
firewall that has forgotten us."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def mute_server() -> Iterator[str]:
    """Its address. The system takes the connections; nobody ever reads from them."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1_000)
        yield f"127.0.0.1:{server.getsockname()[1]}"
