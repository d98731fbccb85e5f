"""The account: orders as they stand, positions, money, fills, ledger, settings, the key."""

from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.account import MarginMode
from perpdesk.domain.errors import VenueRejected
from perpdesk.domain.numbers import plain
from perpdesk.domain.order import ClientOrderId, OrderStatus
from perpdesk.domain.venue_reports import (
    AccountSettings,
    BalanceReport,
    FillReport,
    IncomeReport,
    KeyPermissions,
    OrderReport,
    PositionMode,
    PositionReport,
)
from perpdesk.venues.bybit import calls, codes
from perpdesk.venues.bybit.fields import MARGIN_MODES, MARGIN_WORDS, Message, number, rows, word
from perpdesk.venues.bybit.ledger_wire import income_reports
from perpdesk.venues.bybit.paging import all_pages, all_windows
from perpdesk.venues.bybit.trailing import TrailingStops
from perpdesk.venues.bybit.transport import Transport
from perpdesk.venues.bybit.wire import (
    LINEAR,
    SETTLE_COIN,
    balance_reports,
    fill_report,
    is_funding,
    is_hedged,
    key_permissions,
    order_report,
    position_report,
    report_from_fills,
)
from perpdesk.venues.rate_limit import Lane

ORDERS_PAGE: Final = 50
FILLS_PAGE: Final = 100
POSITIONS_PAGE: Final = 200
LEDGER_PAGE: Final = 50


class BybitAccount:
    """What the account's side of `domain.ports.TradingVenue` reads and sets.

    margin_mode: account-wide, as last read; None before the first reading.
    """

    def __init__(self, transport: Transport, trailing: TrailingStops) -> None:
        self._transport = transport
        self._trailing = trailing
        self.margin_mode: MarginMode | None = None

    # Orders and fills.

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderReport, ...]:
        """Return working orders, conditional ones and trailing stops of positions too."""
        where = {"symbol": symbol} if symbol else {"settleCoin": SETTLE_COIN}
        parameters = {"category": LINEAR, "limit": ORDERS_PAGE, **where}
        merged = await all_pages(self._transport, calls.OPEN_ORDERS, parameters, lane=Lane.QUERY)
        reports = (self.report_of(row) for row in rows(merged["result"]))
        return tuple(report for report in reports if not report.status.is_closed)

    def report_of(self, row: Message) -> OrderReport:
        """Return an order row with our client id, also where Bybit does not carry it."""
        return order_report(row, self._trailing.client_id_of(row))

    def fill_of(self, row: Message) -> FillReport:
        """Return an execution row with our client id, also where Bybit does not carry it."""
        return fill_report(row, self._trailing.client_id_of(row))

    async def find(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport | None:
        """Return what is known of an order: open orders, then history, then executions."""
        if self._trailing.knows(client_order_id):
            if not self._trailing.is_current(symbol, client_order_id):
                return self._trailing.report(
                    client_order_id, OrderStatus.CANCELED, "another trailing stop took its place"
                )
            return await self._find_trailing(symbol, client_order_id)
        named = {"category": LINEAR, "symbol": symbol, "orderLinkId": client_order_id}
        for call in (calls.OPEN_ORDERS, calls.ORDER_HISTORY):
            answer = await self._transport.call(call, named, lane=Lane.QUERY)
            found = rows(answer.result)
            if found:
                return order_report(found[0])
        return await self._find_by_fills(named)

    async def _find_by_fills(self, named: dict[str, Any]) -> OrderReport | None:
        """Orders leave the lists before their executions do."""
        merged = await all_pages(
            self._transport, calls.EXECUTIONS, {**named, "limit": FILLS_PAGE}, lane=Lane.QUERY
        )
        traded = [row for row in rows(merged["result"]) if not is_funding(row)]
        traded.sort(key=lambda row: (int(row["execTime"]), int(row.get("seq") or 0)))
        if not traded:
            return None
        return report_from_fills(tuple(fill_report(row) for row in traded), traded[-1])

    async def find_by_number(self, report: OrderReport) -> OrderReport | None:
        """Return how an order that was reported once stands now, by the venue's own id."""
        named = {"category": LINEAR, "symbol": report.symbol, "orderId": report.order_id}
        for call in (calls.OPEN_ORDERS, calls.ORDER_HISTORY):
            answer = await self._transport.call(call, named, lane=Lane.QUERY)
            for row in rows(answer.result):
                return self.report_of(row)
        return None

    async def _find_trailing(
        self, symbol: str, client_order_id: ClientOrderId
    ) -> OrderReport | None:
        parameters: dict[str, Any] = {"category": LINEAR, "symbol": symbol, "limit": ORDERS_PAGE}
        merged = await all_pages(self._transport, calls.OPEN_ORDERS, parameters, lane=Lane.QUERY)
        for row in rows(merged["result"]):
            if self._trailing.client_id_of(row) == client_order_id:
                return self.report_of(row)
        order_id = self._trailing.order_id_of(client_order_id)
        if order_id is None:
            return None
        named = {"category": LINEAR, "symbol": symbol, "orderId": order_id}
        answer = await self._transport.call(calls.ORDER_HISTORY, named, lane=Lane.QUERY)
        return next((self.report_of(row) for row in rows(answer.result)), None)

    async def executions(
        self, since_ms: int, *, symbol: str | None = None, order_id: str | None = None
    ) -> tuple[FillReport, ...]:
        """Return our trades, of one symbol or order or of all, ascending; no funding."""
        parameters: dict[str, Any] = {"category": LINEAR, "limit": FILLS_PAGE}
        if symbol is not None:
            parameters["symbol"] = symbol
        if order_id is not None:
            parameters["orderId"] = order_id
        found = await all_windows(
            self._transport,
            calls.EXECUTIONS,
            parameters,
            since_ms=since_ms,
            until_ms=self._transport.clock.now_ms() + 1_000,
            lane=Lane.QUERY,
        )
        traded = {row["execId"]: row for row in found if not is_funding(row)}.values()
        ordered = sorted(traded, key=lambda row: (int(row["execTime"]), int(row.get("seq") or 0)))
        return tuple(self.fill_of(row) for row in ordered)

    async def income(self, since_ms: int) -> tuple[IncomeReport, ...]:
        """Return the venue's ledger from `since_ms` on, ascending."""
        found = await all_windows(
            self._transport,
            calls.TRANSACTIONS,
            {"accountType": "UNIFIED", "category": LINEAR, "limit": LEDGER_PAGE},
            since_ms=since_ms,
            until_ms=self._transport.clock.now_ms() + 1_000,
            lane=Lane.QUERY,
        )
        found.sort(key=lambda row: int(row["transactionTime"]))
        return tuple(report for row in found for report in income_reports(row))

    # Positions and money.

    async def positions(self) -> tuple[PositionReport, ...]:
        """Return open positions. Raises VenueRejected in hedge mode, which we do not trade."""
        parameters = {"category": LINEAR, "settleCoin": SETTLE_COIN, "limit": POSITIONS_PAGE}
        merged = await all_pages(self._transport, calls.POSITIONS, parameters, lane=Lane.QUERY)
        mode = self.margin_mode or await self.read_margin_mode()
        open_rows = [row for row in rows(merged["result"]) if number(row, "size")]
        for row in open_rows:
            refuse_hedge(row)
        return tuple(position_report(row, mode) for row in open_rows)

    async def position(self, symbol: str) -> PositionReport | None:
        """Return the position of one symbol, None where it is flat."""
        for row in await self._position_rows(symbol):
            if number(row, "size"):
                refuse_hedge(row)
                return position_report(row, self.margin_mode)
        return None

    async def balances(self) -> tuple[BalanceReport, ...]:
        """Return the money of the unified account."""
        mode = await self.read_margin_mode()
        answer = await self._transport.call(
            calls.WALLET, {"accountType": "UNIFIED"}, lane=Lane.QUERY
        )
        observed_ms = int(answer.body["time"])
        return tuple(
            report
            for account in rows(answer.result)
            for report in balance_reports(account, margin_mode=mode, ts_event_ms=observed_ms)
        )

    # Settings.

    async def settings(self, symbol: str) -> AccountSettings:
        """Return leverage, margin mode and position mode as the venue has them."""
        found = await self._position_rows(symbol)
        if not found:
            raise codes.unknown_symbol(symbol, ())
        hedged = any(is_hedged(row) for row in found)
        return AccountSettings(
            symbol=symbol,
            leverage=number(found[0], "leverage"),
            margin_mode=await self.read_margin_mode(),
            position_mode=PositionMode.HEDGE if hedged else PositionMode.ONE_WAY,
        )

    async def read_margin_mode(self) -> MarginMode:
        """Return the account's margin mode. Raises VenueRejected for portfolio margin."""
        answer = await self._transport.call(calls.ACCOUNT_INFO, lane=Lane.QUERY)
        if answer.result.get("marginMode") == "PORTFOLIO_MARGIN":
            raise VenueRejected(
                "the account is in portfolio margin, which is not supported here",
                code="PORTFOLIO_MARGIN",
                next_step="Set the account to isolated or cross margin at Bybit.",
            )
        self.margin_mode = word(MARGIN_MODES, answer.result, "marginMode")
        return self.margin_mode

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage; that it was so already (110043) is success."""
        text = plain(leverage)
        await self._transport.call(
            calls.SET_LEVERAGE,
            {"category": LINEAR, "symbol": symbol, "buyLeverage": text, "sellLeverage": text},
            lane=Lane.ENTRY,
            passes=frozenset({codes.LEVERAGE_UNCHANGED}),
        )

    async def set_margin_mode(self, symbol: str, mode: MarginMode) -> None:
        """Set isolated or cross, for the whole account.

        Bybit has no margin mode by symbol any more: `symbol` names who asked, and every other
        symbol changes with it. Refused while any position or order of the account stands.
        """
        await self._transport.call(
            calls.SET_MARGIN_MODE,
            {"setMarginMode": MARGIN_WORDS[mode]},
            lane=Lane.ENTRY,
            passes=frozenset({codes.MARGIN_MODE_UNCHANGED}),
        )
        self.margin_mode = mode

    async def set_position_mode(self, mode: PositionMode) -> None:
        """Set one-way or hedge for every USDT contract; unchanged (110025) is success."""
        await self._transport.call(
            calls.SWITCH_MODE,
            {
                "category": LINEAR,
                "coin": SETTLE_COIN,
                "mode": 3 if mode is PositionMode.HEDGE else 0,
            },
            lane=Lane.ENTRY,
            passes=frozenset({codes.POSITION_MODE_UNCHANGED}),
        )

    async def permissions(self) -> KeyPermissions:
        """Return what the key may do."""
        answer = await self._transport.call(calls.KEY, lane=Lane.QUERY)
        return key_permissions(answer.result)

    async def _position_rows(self, symbol: str) -> list[Message]:
        answer = await self._transport.call(
            calls.POSITIONS, {"category": LINEAR, "symbol": symbol}, lane=Lane.QUERY
        )
        return rows(answer.result)


def refuse_hedge(row: Message) -> None:
    """Raise VenueRejected for an open leg of hedge mode, which the desk cannot net."""
    if is_hedged(row):
        raise VenueRejected(
            f"{row.get('symbol')} is held in hedge mode, and only one-way mode is traded here",
            code="HEDGE_MODE",
            next_step="Close the position and set one-way mode at Bybit.",
        )
