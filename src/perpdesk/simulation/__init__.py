"""Logic: a perpetual-futures exchange, simulated once. Pure: no clock, no I/O, no float.

Read `exchange.py` first; `margin.py` and `liquidation.py` hold the venues' formulas.
"""
