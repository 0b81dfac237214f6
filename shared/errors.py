"""An error's class says what to do next; its text says what to do about it.

Two classes decide everything. `Transient`: the same thing may succeed later, and its outcome may be
unknown, so try again *with the same id*. `Rejected`: the same input will fail the same way for ever, so
refuse it, or dead-letter it, and never retry. Anything else is a defect and stops the process.
"""


class FlywheelError(Exception):
    """The base of every error that we raise on purpose."""


class Transient(FlywheelError):
    """Try again later with the same id: something we depend on is away, or its answer was lost."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds to wait, where the other side said so."""


class Fenced(Transient):
    """Another member owns this work now: drop what is in hand, and read again from the stored position."""


class Rejected(FlywheelError):
    """The same input fails the same way for ever: refuse or dead-letter it, never retry."""


class NoSuchTopic(Rejected):
    """The log has no such topic, or its servers have not all heard of it yet: ask the log which topics there are."""


class Misuse(Rejected):
    """A person asked for something that cannot be: say what is wrong and how to mend it. Exit code 2."""
