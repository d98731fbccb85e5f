"""Public market data as rows: the same numbers for REST and streams."""

from decimal import Decimal
from typing import Final

from perpdesk.domain.candles import DAY_MS, HOUR_MS, DataKind, Timeframe
from perpdesk.domain.instrument import Instrument, MarginTier
from perpdesk.domain.numbers import ZERO, floor_to_step
from perpdesk.domain.order import Side
from perpdesk.emulator.binance.words import (
    amount,
    cut,
    fixed,
    number,
    places_of,
    price,
    quantity,
)
from perpdesk.emulator.market import Market, Row
from perpdesk.emulator.trade_tape import MarketTrade

_QUARTER: Final = Timeframe.parse("15m")
INTEREST_RATE: Final = "0.00010000"
PERPETUAL_DELIVERY_MS: Final = 4_133_404_800_000


class Shares:
    """What of a candle takers bought: half of it, on the step grid."""

    def __init__(self, row: Row, instrument: Instrument) -> None:
        self.volume = floor_to_step(row.volume / 2, instrument.step_size)
        self.quote = row.quote_volume / 2 if row.volume else ZERO


def kline_row(row: Row, timeframe: Timeframe, instrument: Instrument) -> list[object]:
    """Return a candle as REST has it."""
    bought = Shares(row, instrument)
    return [
        row.ts_ms,
        price(row.open, instrument),
        price(row.high, instrument),
        price(row.low, instrument),
        price(row.close, instrument),
        quantity(row.volume, instrument),
        timeframe.close_ms(row.ts_ms) - 1,
        cut(row.quote_volume, 5),
        row.trades,
        quantity(bought.volume, instrument),
        cut(bought.quote, 5),
        "0",
    ]


def kline_body(
    row: Row, timeframe: Timeframe, market: Market, *, with_symbol: bool = True
) -> dict[str, object]:
    """Return a candle as streams have it."""
    instrument, bought = market.instrument, Shares(row, market.instrument)
    close_ms = timeframe.close_ms(row.ts_ms)
    first, last = market.trade_ids(row.ts_ms, close_ms)
    head: dict[str, object] = {"t": row.ts_ms, "T": close_ms - 1}
    if with_symbol:
        head["s"] = market.symbol
    return head | {
        "i": timeframe.name,
        "f": first if row.trades else -1,
        "L": last if row.trades else -1,
        "o": price(row.open, instrument),
        "c": price(row.close, instrument),
        "h": price(row.high, instrument),
        "l": price(row.low, instrument),
        "v": quantity(row.volume, instrument),
        "n": row.trades,
        "x": row.is_closed,
        "q": cut(row.quote_volume, 5),
        "V": quantity(bought.volume, instrument),
        "Q": cut(bought.quote, 5),
        "B": "0",
    }


def price_row(row: Row, timeframe: Timeframe) -> list[object]:
    """Return a candle of mark or index price: no volume, eight decimals."""
    return [
        row.ts_ms,
        *(fixed(each, 8) for each in (row.open, row.high, row.low, row.close)),
        "0",
        timeframe.close_ms(row.ts_ms) - 1,
        "0",
        timeframe.duration_ms // 1000,
        "0",
        "0",
        "0",
    ]


def premium_row(last: Row, mark: Row, timeframe: Timeframe) -> list[object]:
    """Return a candle of the premium of last over mark price."""
    pairs = ((last.open, mark.open), (last.high, mark.high), (last.low, mark.low))
    values = [each / base - 1 for each, base in (*pairs, (last.close, mark.close))]
    opened, closed = values[0], values[-1]
    return [
        last.ts_ms,
        cut(opened, 8),
        cut(max(values), 8),
        cut(min(values), 8),
        cut(closed, 8),
        "0",
        timeframe.close_ms(last.ts_ms) - 1,
        "0",
        timeframe.duration_ms // 5000,
        "0",
        "0",
        "0",
    ]


def trade_row(trade: MarketTrade, instrument: Instrument) -> dict[str, object]:
    """Return a public trade."""
    return {
        "id": trade.trade_id,
        "price": price(trade.price, instrument),
        "qty": quantity(trade.quantity, instrument),
        "quoteQty": cut(trade.price * trade.quantity, max(2, places_of(instrument.tick_size))),
        "time": trade.ts_ms,
        "isBuyerMaker": trade.taker_side is Side.SELL,
    }


def aggregate_row(trade: MarketTrade, instrument: Instrument) -> dict[str, object]:
    """Return an aggregated trade; here each stands for one trade."""
    return {
        "a": trade.trade_id,
        "p": price(trade.price, instrument),
        "q": quantity(trade.quantity, instrument),
        "nq": quantity(trade.quantity, instrument),
        "f": trade.trade_id,
        "l": trade.trade_id,
        "T": trade.ts_ms,
        "m": trade.taker_side is Side.SELL,
    }


def level_rows(
    levels: list[tuple[Decimal, Decimal]] | tuple[tuple[Decimal, Decimal], ...],
    instrument: Instrument,
) -> list[list[str]]:
    """Return book levels."""
    ticks, steps = places_of(instrument.tick_size), places_of(instrument.step_size)
    return [[fixed(at, ticks), fixed(held, steps)] for at, held in levels]


def depth_body(market: Market, levels: int, now_ms: int) -> dict[str, object]:
    """Return the book as it is now."""
    bids, asks = market.book.top(levels)
    return {
        "lastUpdateId": market.book.update_id,
        "E": now_ms,
        "T": market.book.ts_ms,
        "bids": level_rows(bids, market.instrument),
        "asks": level_rows(asks, market.instrument),
    }


def book_ticker(market: Market, now_ms: int) -> dict[str, object]:
    """Return best bid and ask."""
    market.book.refresh()
    bid, ask = market.book.best_bid, market.book.best_ask
    return {
        "symbol": market.symbol,
        "bidPrice": price(bid[0], market.instrument),
        "bidQty": quantity(bid[1], market.instrument),
        "askPrice": price(ask[0], market.instrument),
        "askQty": quantity(ask[1], market.instrument),
        "time": now_ms,
        "lastUpdateId": market.book.update_id,
    }


def premium_index(market: Market, now_ms: int) -> dict[str, object]:
    """Return mark price and what funding is going to be."""
    mark = fixed(market.mark_price, 8)
    return {
        "symbol": market.symbol,
        "markPrice": mark,
        "indexPrice": mark,
        "estimatedSettlePrice": mark,
        "lastFundingRate": fixed(market.funding_rate, 8),
        "interestRate": INTEREST_RATE,
        "nextFundingTime": market.next_funding_ms,
        "time": now_ms,
    }


class DayTickers:
    """The rolling day of each market, in quarter hours; extremes of the closed part are kept."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, list[Row]]] = {}

    def of(self, market: Market) -> dict[str, object]:
        """Return the day as REST has it."""
        rows = self._rows(market)
        instrument, last = market.instrument, market.last_price
        opened = rows[0].open if rows else last
        volume = sum((row.volume for row in rows), ZERO)
        quote = sum((row.quote_volume for row in rows), ZERO)
        start_ms = rows[0].ts_ms if rows else market.now_ms
        trades = market.recent_trades(1)
        first, final = market.trade_ids(start_ms, market.now_ms)
        return {
            "symbol": market.symbol,
            "priceChange": price(last - opened, instrument),
            "priceChangePercent": cut((last / opened - 1) * 100, 3),
            "weightedAvgPrice": cut(quote / volume, places_of(instrument.tick_size))
            if volume
            else price(last, instrument),
            "lastPrice": price(last, instrument),
            "lastQty": quantity(trades[-1].quantity if trades else ZERO, instrument),
            "openPrice": price(opened, instrument),
            "highPrice": price(max([last, *(row.high for row in rows)]), instrument),
            "lowPrice": price(min([last, *(row.low for row in rows)]), instrument),
            "volume": quantity(volume, instrument),
            "quoteVolume": cut(quote, 2),
            "openTime": start_ms,
            "closeTime": market.now_ms,
            "firstId": first,
            "lastId": final,
            "count": sum(row.trades for row in rows),
        }

    def _rows(self, market: Market) -> list[Row]:
        quarter_ms = _QUARTER.floor(market.now_ms)
        kept = self._kept.get(market.symbol)
        if kept is None or kept[0] != quarter_ms:
            closed = market.rows(_QUARTER, DataKind.CANDLES, quarter_ms - DAY_MS, quarter_ms - 1)
            kept = self._kept[market.symbol] = (quarter_ms, closed)
        open_ones = market.rows(_QUARTER, DataKind.CANDLES, quarter_ms, market.now_ms)
        return kept[1] + open_ones


def bracket_row(number_of: int, tier: MarginTier) -> dict[str, object]:
    """Return a margin tier."""
    return {
        "bracket": number_of,
        "initialLeverage": int(tier.max_leverage),
        "notionalCap": number(tier.cap),
        "notionalFloor": number(tier.floor),
        "maintMarginRatio": number(tier.maintenance_rate),
        "cum": number(tier.deduction),
    }


def funding_info(market: Market, now_ms: int) -> dict[str, object]:
    """Return how funding of a symbol differs from the default of eight hours."""
    return {
        "symbol": market.symbol,
        "adjustedFundingRateCap": "0.02000000",
        "adjustedFundingRateFloor": "-0.02000000",
        "fundingIntervalHours": market.interval_ms // HOUR_MS,
        "disclaimer": False,
        "updateTime": now_ms,
    }


def open_interest_row(market: Market, ts_ms: int) -> dict[str, object]:
    """Return a row of the open interest's history."""
    held = market.open_interest(ts_ms)
    return {
        "symbol": market.symbol,
        "sumOpenInterest": fixed(held, 8),
        "sumOpenInterestValue": amount(held * market.mark_price),
        "timestamp": ts_ms,
    }
