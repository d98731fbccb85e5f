"""Binance USDⓈ-M futures through python-binance: rest.py, stream.py, wire.py."""
