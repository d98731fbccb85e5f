"""What is used of python-binance, imported in one place.

It still asks websockets for a name that is deprecated, which would warn every user of ours.
"""

import logging
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from binance import AsyncClient, BinanceSocketManager
    from binance.enums import FuturesType
    from binance.ws.constants import WSListenerState

# It logs every closed connection as an error; what a connection died of is told by StreamLost.
logging.getLogger("binance.ws").setLevel(logging.CRITICAL)
# It would write each frame, and the address with the listen key, into a log of everything.
logging.getLogger("websockets.client").setLevel(logging.INFO)

__all__ = ["AsyncClient", "BinanceSocketManager", "FuturesType", "WSListenerState"]
