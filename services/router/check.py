"""Could the router work by this configuration? Asked by whoever puts one in force (`shared.config.proof`)."""

from services.router.rules import load as check

__all__ = ["check"]
