"""Binance USDⓈ-M futures over python-binance.

Read wire.py first (messages), then rest.py (one request), trading.py (orders), stream.py (sockets).
venue.py binds them together; codes.py says what each refusal means.
"""
