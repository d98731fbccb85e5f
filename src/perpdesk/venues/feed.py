"""A queue between a socket and its reader: bounded, coalescing what is superseded, counting it."""

from collections.abc import AsyncIterator

from perpdesk.domain.streams import StreamEvent


class BoundedFeed:
    """Implements `domain.ports.Feed`. `put` never waits; it is called in the event loop.

    Quotes, depth, marks and unfinished candles that have not been read yet give way to a newer one
    of the same stream, in the place of the older. Facts (trades, closed candles, account updates,
    pipe updates) are kept in order. Where more than `limit` facts wait, trades of the oldest go and
    a StreamLost says so; account facts and closed candles never go.
    """

    def __init__(self, limit: int = 10_000) -> None:
        raise NotImplementedError

    def put(self, event: StreamEvent) -> None:
        """Take an event."""
        raise NotImplementedError

    def close(self, error: BaseException | None = None) -> None:
        """End the feed: the reader gets what is left, then the error or the end."""
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        raise NotImplementedError

    @property
    def coalesced(self) -> int:
        """Return how many updates gave way to newer ones."""
        raise NotImplementedError
