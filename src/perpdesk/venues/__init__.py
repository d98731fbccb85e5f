"""Adapters: the exchanges, behind the ports that the domain names.

Purpose: speak Binance USDⓈ-M futures (python-binance) and Bybit v5 linear (pybit) as they are, and
hand the desk domain objects alone. `binance/` and `bybit/` each have rest.py (requests), stream.py
(sockets), wire.py (messages to domain objects and back, pure). Shared: endpoints.py, clock.py,
rate_limit.py and retry.py for requests; pipe.py, feed.py and order_book.py for streams;
resolution.py, brackets.py, bracket_driver.py and foreign_orders.py for orders; key_check.py for
keys. `simulated.py` puts the simulated exchange behind the same port. Read `pipe.py` first for
streams, `resolution.py` first for orders.
"""
