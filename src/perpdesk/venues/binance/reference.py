"""Instruments, tiers and fee rates as Binance words them."""

import asyncio
from collections.abc import Sequence
from typing import Final

from perpdesk.domain.candles import Venue
from perpdesk.domain.ports import ReferenceAnswer
from perpdesk.venues.binance.rest import FUNDING, BinanceRest, understand, unknown_symbol
from perpdesk.venues.binance.wire_market import symbols_of, trading_symbols
from perpdesk.venues.rate_limit import Lane

COMMISSION_WEIGHT: Final = 20


class BinanceReference:
    """Implements `domain.ports.ReferenceSource`. Tiers and fees need a key; rules do not."""

    def __init__(self, rest: BinanceRest) -> None:
        self._rest = rest

    @property
    def venue(self) -> Venue:
        """Return whose rules these are."""
        return Venue.BINANCE

    async def symbols(self) -> tuple[str, ...]:
        """Return the linear USDT perpetuals that trade now."""
        return understand(
            trading_symbols, await self._exchange_info(), what="exchangeInfo", changes=False
        )

    async def reference(self, symbols: Sequence[str]) -> tuple[ReferenceAnswer, ...]:
        """Return exchangeInfo and fundingInfo and, with a key, leverageBracket and commissionRate.

        Raises VenueRejected, with the nearest name, for a symbol that is not listed.
        """
        rules = await self._exchange_info()
        for symbol in symbols:
            if symbol not in self._rest.known_symbols:
                raise unknown_symbol(symbol, self._rest.known_symbols)
        answers = [self._dated("exchangeInfo", rules)]
        funding = await self._rest.get("fundingInfo", pool=FUNDING)
        answers.append(self._dated("fundingInfo", funding))
        if not self._rest.has_key:
            return tuple(answers)
        answers.append(
            self._dated("leverageBracket", await self._rest.get("leverageBracket", signed=True))
        )
        fees = await asyncio.gather(*(self._fees(symbol) for symbol in symbols))
        return (*answers, *fees)

    async def _exchange_info(self) -> object:
        answer = await self._rest.get("exchangeInfo")
        self._rest.known_symbols = understand(
            symbols_of, answer, what="exchangeInfo", changes=False
        )
        return answer

    async def _fees(self, symbol: str) -> ReferenceAnswer:
        answer = await self._rest.get(
            "commissionRate",
            {"symbol": symbol},
            weight=COMMISSION_WEIGHT,
            lane=Lane.HISTORY,
            signed=True,
        )
        return self._dated("commissionRate", answer)

    def _dated(self, name: str, answer: object) -> ReferenceAnswer:
        return ReferenceAnswer(name=name, answer=answer, observed_ms=self._rest.clock.now_ms())
