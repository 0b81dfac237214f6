"""What ours is measured against: ceilings (the least that does the same transport) and peers (what a user would have).

Each is a program of its own, started as `python -m bench.peers.X`; `quix_router` runs in a virtual environment of its
own and imports nothing of this project; `bento/` and `streams/` are built by Go and by Java (`bench.built`).
"""

import argparse
from typing import Any

import uvicorn


def port_argument() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    return port


def serve(app: Any, port: int) -> None:
    """uvicorn with the loop and the parser that ours has."""
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
