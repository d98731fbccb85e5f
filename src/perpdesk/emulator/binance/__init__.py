"""Binance USDⓈ-M futures as its clients know it, over the emulated world. Read door.py first.

Where it is simpler than the venue: positions are netted (hedge mode can be set, orders are then
refused); index price is mark price; takers bought half of every candle; an aggregated trade is one
trade; a reduce-only stop needs a position when it is placed and dies with it; an account has one
asset; the separate pools of /futures/data and of funding history and the cut after a day are not
enforced; faults of requests do not strike the WebSocket API.
"""
