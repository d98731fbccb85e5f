"""Logic: strategies as plugins. They see closed candles and return signals; nothing else.

Read `base.py` first, then `builtin/ema_trend.py`.
"""
