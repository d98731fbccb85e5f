"""A market stream: what it is carried by, and when it speaks."""

from collections.abc import Mapping
from typing import Final, Protocol

from perpdesk.emulator.market import MarketStep

PUBLIC: Final = "public"
MARKET: Final = "market"
Steps = Mapping[str, MarketStep]


class Feed(Protocol):
    """One stream. route: where it is carried; elsewhere it stays silent."""

    @property
    def route(self) -> str:
        """Return `PUBLIC` or `MARKET`."""
        ...

    def on_step(self, steps: Steps, now_ms: int) -> list[object]:
        """Return what there is to say after a step."""
        ...

    def close(self) -> None:
        """Let go of the market: nobody listens any more."""
        ...


def passes(steps: Steps, now_ms: int, every_ms: int) -> bool:
    """Tell whether a step passes the end of a period."""
    start_ms = next(iter(steps.values())).start_ms
    return start_ms // every_ms != now_ms // every_ms
