"""The account half of trading on Binance: positions, money, fills, ledger, settings, the key."""

import asyncio
from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import DAY_MS, Venue
from perpdesk.domain.errors import Denied, VenueRejected
from perpdesk.domain.numbers import plain
from perpdesk.domain.order import ClientOrderId, OrderId
from perpdesk.domain.venue_reports import (
    AccountSettings,
    BalanceReport,
    FillReport,
    IncomeReport,
    KeyPermissions,
    PositionMode,
    PositionReport,
)
from perpdesk.venues.binance import codes, wire
from perpdesk.venues.binance.names import OrderNames
from perpdesk.venues.binance.rest import WEIGHT, BinanceRest, understand
from perpdesk.venues.binance.words import MARGIN_WORDS
from perpdesk.venues.rate_limit import Lane
from perpdesk.venues.resolution import READ_LAG_S

FILL_ROWS: Final = 1000
FILL_WINDOW_MS: Final = 7 * DAY_MS
KEPT_MS: Final = 89 * DAY_MS
"""Binance keeps our trades and ledger for three months; asking for more is an error."""
INCOME_ROWS: Final = 1000
INCOME_WEIGHT: Final = 30
POSITION_MODE_WEIGHT: Final = 30


class BinanceAccount:
    """Reads and sets the account behind the key. names: what is known of order ids."""

    def __init__(self, rest: BinanceRest, names: OrderNames) -> None:
        self._rest = rest
        self.names = names

    @property
    def venue(self) -> Venue:
        """Return where orders go."""
        return Venue.BINANCE

    async def positions(self) -> tuple[PositionReport, ...]:
        """Return open positions; a symbol that is absent is flat."""
        answer = await self._read("positionRisk", {}, weight=5, version=3)
        reports = understand(wire.position_reports, answer, what="positionRisk", changes=False)
        return tuple(report for report in reports if report.signed_quantity)

    async def balances(self) -> tuple[BalanceReport, ...]:
        """Return the money of the account, by asset."""
        answer = await self._read("balance", {}, weight=5, version=3)
        return understand(
            lambda rows: tuple(wire.balance_report(row) for row in rows),
            answer,
            what="balance",
            changes=False,
        )

    # Fills.

    async def fills(self, symbol: str, since_ms: int) -> tuple[FillReport, ...]:
        """Return our trades of a symbol from `since_ms` on, ascending; three months at most.

        Windows of seven days find the first one, ids lead on from there without a gap.
        """
        now_ms = self._rest.clock.now_ms()
        begin_ms = max(since_ms, now_ms - KEPT_MS)
        rows: list[Any] = []
        while not rows and begin_ms <= now_ms:
            until_ms = begin_ms + FILL_WINDOW_MS
            rows = await self._fill_page(
                symbol, {"startTime": str(begin_ms), "endTime": str(until_ms - 1)}
            )
            begin_ms = until_ms
        more = len(rows) == FILL_ROWS or (bool(rows) and begin_ms <= now_ms)
        while more:
            following = str(max(int(row["id"]) for row in rows) + 1)
            page = await self._fill_page(symbol, {"fromId": following})
            rows = rows + page
            more = len(page) == FILL_ROWS
        by_id = {int(row["id"]): row for row in rows if int(row["time"]) >= since_ms}
        named = await self._clients(symbol, {OrderId(str(r["orderId"])) for r in by_id.values()})
        reports = [
            understand(
                lambda one: wire.fill_report(
                    one, client_order_id=named[OrderId(str(one["orderId"]))]
                ),
                row,
                what="userTrades",
                changes=False,
            )
            for row in by_id.values()
        ]
        reports.sort(key=lambda fill: (fill.ts_event_ms, int(fill.trade_id)))
        return tuple(reports)

    async def _fill_page(self, symbol: str, window: dict[str, str]) -> list[Any]:
        parameters = {"symbol": symbol, "limit": str(FILL_ROWS), **window}
        answer = await self._read("userTrades", parameters, weight=5)
        return understand(
            lambda rows: sorted(rows, key=lambda row: int(row["id"])),
            answer,
            what="userTrades",
            changes=False,
        )

    async def _clients(self, symbol: str, order_ids: set[OrderId]) -> dict[OrderId, ClientOrderId]:
        """Return what the orders behind fills are called: a trade names its order by number."""
        named = {one: self.names.client_of(symbol, one) for one in order_ids}
        unknown = sorted(one for one, name in named.items() if name is None)
        asked = await asyncio.gather(*(self._ask_client(symbol, one) for one in unknown))
        return {one: name or ClientOrderId("") for one, name in named.items()} | dict(
            zip(unknown, asked, strict=True)
        )

    async def _ask_client(self, symbol: str, order_id: OrderId) -> ClientOrderId:
        """Ask for an order that traded. "Not found" is believed at the second reading only."""
        answer = await self._traded_order(symbol, order_id)
        if answer is None:
            await self._rest.clock.local.sleep(READ_LAG_S)
            answer = await self._traded_order(symbol, order_id)
        if answer is None:
            return ClientOrderId("")  # Binance has forgotten it.
        report = understand(wire.order_report, answer, what="order", changes=False)
        self.names.learn_regular(report)
        return self.names.client_of(symbol, order_id) or report.client_order_id

    async def _traded_order(self, symbol: str, order_id: OrderId) -> Any:
        try:
            return await self._read("order", {"symbol": symbol, "orderId": order_id}, weight=1)
        except VenueRejected as refusal:
            if refusal.code != str(codes.NO_SUCH_ORDER):
                raise
            return None

    # Ledger.

    async def income(self, since_ms: int) -> tuple[IncomeReport, ...]:
        """Return Binance's ledger from `since_ms` on, ascending; three months at most."""
        now_ms = self._rest.clock.now_ms()
        begin_ms = max(since_ms, now_ms - KEPT_MS)
        reports: dict[tuple[str, str, str], IncomeReport] = {}
        while True:
            page = await self._income_page(begin_ms)
            for report in page:
                reports[report.income_id, report.symbol, report.asset] = report
            if len(page) < INCOME_ROWS:
                break
            last_ms = max(report.ts_ms for report in page)
            # The page ends within a millisecond that may hold more: it is read again, whole.
            begin_ms = last_ms if last_ms > begin_ms else last_ms + 1
        found = (report for report in reports.values() if report.ts_ms >= since_ms)
        return tuple(sorted(found, key=lambda report: (report.ts_ms, report.income_id)))

    async def _income_page(self, begin_ms: int) -> tuple[IncomeReport, ...]:
        answer = await self._read(
            "income",
            {"startTime": str(begin_ms), "limit": str(INCOME_ROWS)},
            weight=INCOME_WEIGHT,
        )
        return understand(
            lambda rows: tuple(wire.income_report(row) for row in rows),
            answer,
            what="income",
            changes=False,
        )

    # Settings.

    async def settings(self, symbol: str) -> AccountSettings:
        """Return leverage, margin mode and position mode as Binance has them."""
        rows = await self._read("symbolConfig", {"symbol": symbol}, weight=5)
        mode = await self._read("positionSide/dual", {}, weight=POSITION_MODE_WEIGHT)
        is_hedge = understand(wire.is_hedge, mode, what="positionSide/dual", changes=False)
        return understand(
            lambda found: wire.account_settings(symbol, found, is_hedge=is_hedge),
            rows,
            what="symbolConfig",
            changes=False,
        )

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage; that it was so already is success."""
        if leverage != leverage.to_integral_value() or leverage < 1:
            raise Denied(
                f"leverage {plain(leverage)} is not a whole number; Binance knows no other",
                next_step=f"The nearest below is {max(1, int(leverage))}.",
            )
        await self._set("leverage", {"symbol": symbol, "leverage": plain(leverage)})

    async def set_margin_mode(self, symbol: str, mode: MarginMode) -> None:
        """Set isolated or cross; that it was so already is success."""
        await self._set("marginType", {"symbol": symbol, "marginType": MARGIN_WORDS[mode]})

    async def set_position_mode(self, mode: PositionMode) -> None:
        """Set one-way or hedge mode; that it was so already is success."""
        is_hedge = "true" if mode is PositionMode.HEDGE else "false"
        await self._set("positionSide/dual", {"dualSidePosition": is_hedge})

    async def _set(self, path: str, parameters: dict[str, str]) -> None:
        try:
            await self._rest.change("post", path, parameters, lane=Lane.QUERY, costs={WEIGHT: 1})
        except VenueRejected as refusal:
            if refusal.code not in {str(code) for code in codes.UNCHANGED}:
                raise

    async def permissions(self) -> KeyPermissions:
        """Return what the key may do."""
        answer = await self._read("sapi/account/apiRestrictions", {}, weight=1)
        return understand(wire.key_permissions, answer, what="apiRestrictions", changes=False)

    async def _read(
        self, path: str, parameters: dict[str, str], *, weight: int, version: int = 1
    ) -> Any:
        return await self._rest.get(
            path, parameters, weight=weight, lane=Lane.QUERY, version=version, signed=True
        )
