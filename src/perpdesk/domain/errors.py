"""Errors, named by what the caller must do about them.

    PerpdeskError
    ├── Denied              tell the user why, in words, and offer the nearest legal order
    ├── VenueRejected       final: the venue said no
    ├── VenueUnavailable    wait, then try again
    ├── OutcomeUnknown      the request may have worked: reconcile, never resend
    ├── DataRefused         fix the data, then run again
    ├── UsageRefused        fix the request: an unknown name, a value out of range
    ├── StrategyFailed      fix the strategy: it raised, or contradicted itself
    └── InvariantBroken     stop the desk: our own arithmetic contradicts itself

Every message says what was wrong, what was expected, and what to do next.
"""


class PerpdeskError(Exception):
    """Root of every error that this package raises on purpose.

    next_step: one sentence that tells the user what to do; shown apart from the message.
    """

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class Denied(PerpdeskError):
    """Our own rules refuse the order or signal; nothing was sent."""


class VenueRejected(PerpdeskError):
    """The venue refused; `code` is the venue's own code."""

    def __init__(self, message: str, *, code: str = "", next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.code = code


class VenueUnavailable(PerpdeskError):
    """The venue cannot be reached or asks us to slow down."""


class OutcomeUnknown(PerpdeskError):
    """A request was sent and its outcome is not known."""


class DataRefused(PerpdeskError):
    """Data is missing, damaged or not what it claims to be."""


class UsageRefused(PerpdeskError):
    """The request itself is wrong."""


class StrategyFailed(PerpdeskError):
    """A strategy raised, or returned what cannot be a signal; names strategy, bar and field."""


class InvariantBroken(PerpdeskError):
    """An identity that must always hold does not."""
