"""The closer's handler alone: cases, deadlines, timeline, outbox and what is owed to customers, all of it written, but
no relay, no mails, no timers and no web beside it. Wired as the service wires it. Ended by its pid."""

import asyncio
from typing import Any

import uvloop

from services.closer.app import build
from shared.config import config_of, read_dir
from shared.runtime import open_runtime, spare_the_collector
from shared.settings import read_settings
from shared.telemetry import configure_logging


async def run() -> None:
    settings = read_settings()
    assert settings.config_dir is not None
    runtime: Any
    async with open_runtime(settings, "closer") as runtime:
        service: Any = await build(runtime)
        await service.configure(config_of(read_dir(settings.config_dir)))
        spare_the_collector()
        await service._handler.run()


if __name__ == "__main__":
    configure_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
