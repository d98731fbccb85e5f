"""Candles, tickers, books, trades and instruments in the venue's words."""

from decimal import Decimal
from typing import Any, Final

import numpy as np

from perpdesk.domain.candles import DAY_MS, HOUR_MS, MINUTE_MS, DataKind, Timeframe
from perpdesk.domain.numbers import ONE, ZERO, decimal_of, floor_to_step, round_to_tick
from perpdesk.emulator.bybit.messages import amount, number, side_word
from perpdesk.emulator.market import Market, Row
from perpdesk.emulator.trade_tape import MarketTrade

INTERVALS: Final = {
    word: Timeframe.parse(name)
    for word, name in (
        ("1", "1m"),
        ("3", "3m"),
        ("5", "5m"),
        ("15", "15m"),
        ("30", "30m"),
        ("60", "1h"),
        ("120", "2h"),
        ("240", "4h"),
        ("360", "6h"),
        ("720", "12h"),
        ("D", "1d"),
        ("W", "1w"),
        ("M", "1M"),
    )
}
_LAUNCHED_MS: Final = 1_585_526_400_000
_FUNDING_CAP: Final = "0.00375"
_CENT: Final = Decimal("0.01")


# Candles.


def candle_row(row: Row) -> list[str]:
    """Return a candle with volume and turnover."""
    return [*price_row(row), number(row.volume), number(row.quote_volume)]


def price_row(row: Row) -> list[str]:
    """Return the prices of a candle."""
    prices = (row.open, row.high, row.low, row.close)
    return [str(row.ts_ms), *(number(price) for price in prices)]


def stream_candle(row: Row, word: str, timeframe: Timeframe, *, ts_ms: int) -> dict[str, Any]:
    """Return a candle as the stream shows it."""
    return {
        "start": row.ts_ms,
        "end": timeframe.close_ms(row.ts_ms) - 1,
        "interval": word,
        "open": number(row.open),
        "close": number(row.close),
        "high": number(row.high),
        "low": number(row.low),
        "volume": number(row.volume),
        "turnover": number(row.quote_volume),
        "confirm": row.is_closed,
        "timestamp": ts_ms,
    }


def premium_row(last: Row, mark: Row) -> list[str]:
    """Return how far last price stood above mark, which stands in for the index."""
    start = (last.open - mark.open) / mark.open
    end = (last.close - mark.close) / mark.close
    values = (start, max(start, end), min(start, end), end)
    return [str(last.ts_ms), *(f"{value:.6f}" for value in values)]


# Trades and book.


def trade_row(trade: MarketTrade, symbol: str) -> dict[str, Any]:
    """Return a trade as REST shows it."""
    return {
        "execId": trade_id(trade),
        "symbol": symbol,
        "price": number(trade.price),
        "size": number(trade.quantity),
        "side": side_word(trade.taker_side),
        "time": str(trade.ts_ms),
        "isBlockTrade": False,
        "isRPITrade": False,
        "seq": str(trade.trade_id),
    }


def stream_trade(trade: MarketTrade, symbol: str, before: Decimal) -> dict[str, Any]:
    """Return a trade as the stream shows it. before: the price of the trade before."""
    return {
        "T": trade.ts_ms,
        "s": symbol,
        "S": side_word(trade.taker_side),
        "v": number(trade.quantity),
        "p": number(trade.price),
        "L": tick_word(trade.price, before),
        "i": trade_id(trade),
        "BT": False,
        "RPI": False,
        "seq": trade.trade_id,
    }


def trade_id(trade: MarketTrade) -> str:
    """Return the id of a public trade."""
    return f"0b17e000-0000-6000-8000-{trade.trade_id:012d}"


def tick_word(price: Decimal, before: Decimal) -> str:
    """Return the direction of a price against the one before."""
    if price == before:
        return "ZeroPlusTick"
    return "PlusTick" if price > before else "MinusTick"


def level_rows(levels: list[tuple[Decimal, Decimal]]) -> list[list[str]]:
    """Return levels of a book."""
    return [[number(price), number(quantity)] for price, quantity in levels]


# Ticker.


class DayStatistics:
    """What a ticker tells of the last hours, looked up once a minute."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._minute = -1
        self._prices: dict[str, Decimal] = {}
        self._volume = self._turnover = ZERO
        self._high = self._low = ZERO

    def fields(self) -> dict[str, str]:
        """Return the fields as they are now."""
        market, last = self.market, self.market.last_price
        minute = market.now_ms // MINUTE_MS
        if minute != self._minute:
            self._minute = minute
            self._look(minute * MINUTE_MS)
        day = self._prices["prevPrice24h"]
        self._high, self._low = max(self._high, last), min(self._low, last)
        return {
            "price24hPcnt": f"{(last - day) / day:.6f}",
            "prevPrice24h": number(day),
            "highPrice24h": number(self._high),
            "lowPrice24h": number(self._low),
            "prevPrice1h": number(self._prices["prevPrice1h"]),
            "turnover24h": f"{self._turnover:.4f}",
            "volume24h": f"{self._volume:.4f}",
        }

    def _look(self, now_ms: int) -> None:
        candles = self.market.tape.candles.between(now_ms - DAY_MS, now_ms)
        if not len(candles):
            last = self.market.last_price
            self._prices = {"prevPrice24h": last, "prevPrice1h": last}
            self._high = self._low = last
            return
        hour = int(np.searchsorted(candles.ts_ms, now_ms - HOUR_MS))
        hour = min(hour, len(candles) - 1)
        self._prices = {
            "prevPrice24h": decimal_of(float(candles.open[0])),
            "prevPrice1h": decimal_of(float(candles.open[hour])),
        }
        self._high = decimal_of(float(candles.high.max()))
        self._low = decimal_of(float(candles.low.min()))
        self._volume = decimal_of(float(candles.volume.sum()))
        typical = (candles.open + candles.close) / 2
        self._turnover = decimal_of(float((candles.volume * typical).sum()))


def ticker_row(market: Market, day: DayStatistics) -> dict[str, str]:
    """Return the fields that REST and stream share."""
    open_interest = market.open_interest(market.now_ms // 1000 * 1000)
    market.book.refresh()
    bid, ask = market.book.best_bid, market.book.best_ask
    return {
        "symbol": market.symbol,
        "lastPrice": number(market.last_price),
        "indexPrice": number(market.mark_price),
        "markPrice": number(market.mark_price),
        **day.fields(),
        "openInterest": number(open_interest),
        "openInterestValue": f"{open_interest * market.mark_price:.2f}",
        "fundingRate": number(market.funding_rate),
        "nextFundingTime": str(market.next_funding_ms),
        "fundingIntervalHour": str(market.interval_ms // HOUR_MS),
        "fundingCap": _FUNDING_CAP,
        "bid1Price": number(bid[0]),
        "bid1Size": number(bid[1]),
        "ask1Price": number(ask[0]),
        "ask1Size": number(ask[1]),
        "preOpenPrice": "",
        "preQty": "",
        "curPreListingPhase": "",
    }


REST_TICKER_EXTRA: Final = {
    "predictedDeliveryPrice": "",
    "basisRate": "",
    "deliveryFeeRate": "",
    "deliveryTime": "0",
    "basis": "",
    "basisRateYear": "",
}


def price_limits(market: Market) -> dict[str, str]:
    """Return the highest buy and the lowest sell that are taken now."""
    band, tick = market.instrument.price_band_rate, market.instrument.tick_size
    mark = market.mark_price
    return {
        "symbol": market.symbol,
        "buyLmt": number(round_to_tick(mark * (ONE + band), tick)),
        "sellLmt": number(round_to_tick(mark * (ONE - band), tick)),
    }


# Instruments.


def instrument_row(market: Market, place: int) -> dict[str, Any]:
    """Return the rules of a contract. fundingInterval is in minutes."""
    rules = market.instrument
    tick, band = rules.tick_size, rules.price_band_rate
    return {
        "symbol": rules.symbol,
        "symbolId": place + 1,
        "contractType": "LinearPerpetual",
        "status": "Trading" if market.is_open else "Closed",
        "baseCoin": rules.base,
        "quoteCoin": rules.quote,
        "launchTime": str(_LAUNCHED_MS),
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(max(0, -int(tick.normalize().as_tuple().exponent))),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": f"{rules.tiers[0].max_leverage:.2f}",
            "leverageStep": "0.01",
        },
        "priceFilter": {
            "minPrice": number(tick),
            "maxPrice": number(floor_to_step(Decimal(19_999_998) * tick, tick)),
            "tickSize": number(tick),
        },
        "lotSizeFilter": {
            "maxOrderQty": number(rules.max_limit_quantity),
            "minOrderQty": number(rules.min_quantity),
            "qtyStep": number(rules.step_size),
            "postOnlyMaxOrderQty": number(rules.max_limit_quantity),
            "maxMktOrderQty": number(rules.max_market_quantity),
            "minNotionalValue": number(rules.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": rules.funding_interval_ms // MINUTE_MS,
        "settleCoin": rules.quote,
        "copyTrading": "none",
        "upperFundingRate": _FUNDING_CAP,
        "lowerFundingRate": f"-{_FUNDING_CAP}",
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {
            "priceLimitRatioX": number(band / 2),
            "priceLimitRatioY": number(band),
        },
        "symbolType": "",
    }


def tier_rows(market: Market, place: int) -> list[dict[str, Any]]:
    """Return the risk limits of a contract; the lowest has no deduction."""
    return [
        {
            "id": place * 100 + number_ + 1,
            "symbol": market.symbol,
            "riskLimitValue": number(tier.cap),
            "maintenanceMargin": number(tier.maintenance_rate),
            "initialMargin": amount(ONE / tier.max_leverage),
            "isLowestRisk": int(number_ == 0),
            "maxLeverage": f"{tier.max_leverage:.2f}",
            "mmDeduction": "" if number_ == 0 else number(tier.deduction),
        }
        for number_, tier in enumerate(market.instrument.tiers)
    ]


def candles(market: Market, kind: DataKind, word: str, start_ms: int, end_ms: int) -> list[Row]:
    """Return candles of an interval, oldest first, the open one included."""
    return market.rows(INTERVALS[word], kind, start_ms, end_ms)
