"""Binance USDⓈ-M futures as its clients know it, over the emulated world. Read door.py first."""
