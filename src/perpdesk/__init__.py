"""perpdesk: a trading desk for crypto perpetual futures that one person can run and trust.

Read `domain/order.py`, `simulation/exchange.py`, `trading/desk.py`, `bootstrap.py`, in this order.
"""

__version__ = "0.1.0"
