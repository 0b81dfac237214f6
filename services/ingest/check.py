"""Could ingest work by this configuration? Asked by whoever puts one in force (`shared.config.proof`)."""

from services.ingest import connectors
from services.ingest.sources import FILE, Sources, read_sources
from shared import registry
from shared.config import Config


def check(config: Config) -> Sources:
    """Raises `ConfigError`."""
    return read_sources(config.document(FILE), registry.load(connectors, connectors.Connector))
