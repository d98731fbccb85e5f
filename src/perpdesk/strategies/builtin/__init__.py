"""The strategies that come with the desk; `ema_trend.py` is the one to read first."""
