"""Runs: Backtrader hosted. Cerebro steps over strategy bars, the exchange over execution bars.

Read `engine.py` first, then `driver.py`.
"""
