"""`metrics:` of sources.yaml beside those that there always are: name → (least, most). Pure."""

from shared.config import Config
from shared.events.feedback import METRIC_RANGES

FILE = "sources.yaml"


def metrics_of(config: Config) -> dict[str, tuple[float, float]]:
    """As far as they can be read: ingest's own check says what is wrong with them."""
    data = config.partly(FILE).data
    found = data.get("metrics") if isinstance(data, dict) else None
    ranges = dict(METRIC_RANGES)
    for name, bounds in (found or {}).items() if isinstance(found, dict) else ():
        if isinstance(bounds, dict):
            least, most = bounds.get("min"), bounds.get("max")
            if isinstance(least, int | float) and isinstance(most, int | float):
                ranges[name] = (float(least), float(most))
    return ranges
