"""Logic: what happened, measured. Pure functions from events and columns to numbers and a page.

Read `trades.py` first (events become round trips), then `metrics.py`; `statistics.py` and
`drawdown.py` hold the formulas, `tearsheet.py` draws.
"""
