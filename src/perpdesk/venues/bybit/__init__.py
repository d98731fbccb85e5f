"""Bybit v5 linear perpetuals through pybit: rest.py, stream.py, wire.py."""
