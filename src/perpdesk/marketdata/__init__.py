"""Adapters: market data kept and served, and the rules of the instruments it belongs to.

Read `candle_store.py` first, then `importers.py` and `integrity.py`. What is fetched from venues:
`history.py`, then `backfill.py`. `instruments.py` and `reference.py` stand alone.
"""
