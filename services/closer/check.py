"""Could the closer work by this configuration? Asked by whoever puts one in force (`shared.config.proof`)."""

from services.closer.policy import check

__all__ = ["check"]
