"""The venue's rules, as /fapi/v1/exchangeInfo tells them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import plain
from perpdesk.emulator.binance.limits import ORDERS_1M, ORDERS_10S, limit_row
from perpdesk.emulator.binance.words import (
    ORDER_TYPES,
    TIMES_IN_FORCE,
    fixed,
    highest_price,
    places_of,
    price_precision,
)
from perpdesk.emulator.market import Market

PERPETUAL_DELIVERY_MS: Final = 4_133_404_800_000


def symbol_row(market: Market) -> dict[str, object]:
    """Return a symbol of exchangeInfo."""
    rules = market.instrument
    tick, step = rules.tick_size, rules.step_size
    band = rules.price_band_rate
    return {
        "symbol": rules.symbol,
        "pair": rules.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": PERPETUAL_DELIVERY_MS,
        "onboardDate": int(market.tape.candles.ts_ms[0]),
        "status": "TRADING" if market.is_open else "CLOSE",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": rules.base,
        "quoteAsset": rules.quote,
        "marginAsset": rules.quote,
        "pricePrecision": price_precision(rules),
        "quantityPrecision": places_of(step),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "triggerProtect": "0.0500",
        "liquidationFee": fixed(rules.liquidation_fee_rate, 6),
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10_000,
        "permissionSets": ["GRID", "COPY"],
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": fixed(tick, places_of(tick)),
                "maxPrice": plain(highest_price(rules)),
                "tickSize": fixed(tick, places_of(tick)),
            },
            _lot("LOT_SIZE", rules, rules.max_limit_quantity),
            _lot("MARKET_LOT_SIZE", rules, rules.max_market_quantity),
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": plain(rules.min_notional)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": fixed(1 + band, 4),
                "multiplierDown": fixed(1 - band, 4),
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": list(ORDER_TYPES),
        "timeInForce": list(TIMES_IN_FORCE),
    }


def _lot(kind: str, rules: Instrument, most: Decimal) -> dict[str, object]:
    return {
        "filterType": kind,
        "minQty": fixed(rules.min_quantity, places_of(rules.step_size)),
        "maxQty": plain(most),
        "stepSize": fixed(rules.step_size, places_of(rules.step_size)),
    }


def exchange_info(
    markets: Mapping[str, Market], now_ms: int, weight_limit: int
) -> dict[str, object]:
    """Return the venue's rules."""
    quotes = sorted({market.instrument.quote for market in markets.values()})
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": [
            limit_row("REQUEST_WEIGHT", "MINUTE", 1, weight_limit),
            limit_row("ORDERS", "MINUTE", 1, ORDERS_1M),
            limit_row("ORDERS", "SECOND", 10, ORDERS_10S),
        ],
        "exchangeFilters": [],
        "assets": [
            {"asset": quote, "marginAvailable": True, "autoAssetExchange": "-10000"}
            for quote in quotes
        ],
        "symbols": [symbol_row(market) for market in markets.values()],
    }
