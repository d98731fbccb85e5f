"""What is used of python-binance, imported in one place.

It still asks websockets for a name that is deprecated, which would warn every user of ours.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from binance import AsyncClient, BinanceSocketManager
    from binance.enums import FuturesType
    from binance.ws.constants import WSListenerState

__all__ = ["AsyncClient", "BinanceSocketManager", "FuturesType", "WSListenerState"]
