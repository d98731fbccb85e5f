"""The pieces of Smart Money Concepts, one per file, each causal and written for the bullish side.

The bearish side is the bullish one of mirrored prices (`prices.py`). Read `structure.py` first.
"""
