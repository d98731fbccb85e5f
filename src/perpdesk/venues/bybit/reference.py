"""Instruments, margin tiers and fee rates, in Bybit's own words."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from perpdesk.domain.candles import Venue
from perpdesk.domain.ports import ReferenceAnswer
from perpdesk.venues.bybit import calls
from perpdesk.venues.bybit.codes import unknown_symbol
from perpdesk.venues.bybit.fields import rows, text
from perpdesk.venues.bybit.paging import all_pages
from perpdesk.venues.bybit.transport import Transport
from perpdesk.venues.bybit.wire import LINEAR, SETTLE_COIN
from perpdesk.venues.rate_limit import Lane

PAGE: Final = 1_000
ONE_BY_ONE: Final = 15
"""Up to so many symbols their tiers are asked for one by one: a page of all holds 15 symbols."""


class BybitReference:
    """Implements `domain.ports.ReferenceSource`; answers are whole v5 envelopes, pages merged."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def venue(self) -> Venue:
        """Return whose rules these are."""
        return Venue.BYBIT

    async def symbols(self) -> tuple[str, ...]:
        """Return the linear USDT perpetuals that trade now."""
        listed = rows((await self._instruments())["result"])
        return tuple(sorted(text(row, "symbol") for row in listed if _trades(row)))

    async def reference(self, symbols: Sequence[str]) -> tuple[ReferenceAnswer, ...]:
        """Return instruments-info, risk-limit and, with a key, fee-rate of the symbols.

        Raises VenueRejected for a symbol that is not listed, naming the nearest.
        """
        instruments = await self._instruments()
        listed = [row["symbol"] for row in rows(instruments["result"]) if _is_perpetual(row)]
        for symbol in symbols:
            if symbol not in listed:
                raise unknown_symbol(symbol, listed)
        found = [
            _answer("instruments-info", instruments, symbols),
            _answer("risk-limit", await self._tiers(symbols), symbols),
        ]
        if self._transport.is_signed:
            fees = await all_pages(
                self._transport, calls.FEE_RATE, {"category": LINEAR}, lane=Lane.HISTORY
            )
            found.append(_answer("fee-rate", fees, symbols))
        return tuple(found)

    async def launch_ms(self, symbol: str) -> int:
        """Return when a symbol was listed. Raises VenueRejected for an unknown one."""
        listed = rows((await self._instruments())["result"])
        for row in listed:
            if row["symbol"] == symbol and _is_perpetual(row):
                return int(row["launchTime"])
        raise unknown_symbol(symbol, [row["symbol"] for row in listed if _is_perpetual(row)])

    async def _instruments(self) -> dict[str, Any]:
        parameters = {"category": LINEAR, "limit": PAGE}
        return await all_pages(self._transport, calls.INSTRUMENTS, parameters, lane=Lane.HISTORY)

    async def _tiers(self, symbols: Sequence[str]) -> dict[str, Any]:
        if len(symbols) > ONE_BY_ONE:
            return await all_pages(
                self._transport, calls.RISK_LIMIT, {"category": LINEAR}, lane=Lane.HISTORY
            )
        merged: dict[str, Any] = {}
        found: list[Any] = []
        for symbol in symbols:
            parameters = {"category": LINEAR, "symbol": symbol}
            merged = await all_pages(
                self._transport, calls.RISK_LIMIT, parameters, lane=Lane.HISTORY
            )
            found += rows(merged["result"])
        return {**merged, "result": {**merged.get("result", {}), "list": found}}


def _is_perpetual(row: Mapping[str, Any]) -> bool:
    settles = row.get("settleCoin", SETTLE_COIN) == SETTLE_COIN
    return bool(row.get("contractType") == "LinearPerpetual" and settles)


def _trades(row: Mapping[str, Any]) -> bool:
    return _is_perpetual(row) and row.get("status") == "Trading"


def _answer(name: str, envelope: dict[str, Any], symbols: Sequence[str]) -> ReferenceAnswer:
    """Return an answer with the rows of the symbols alone."""
    wanted = set(symbols)
    kept = [row for row in rows(envelope["result"]) if row["symbol"] in wanted]
    answer = {**envelope, "result": {**envelope["result"], "list": kept}}
    return ReferenceAnswer(name=name, answer=answer, observed_ms=int(envelope["time"]))
