"""Adapters: an exchange to bring along: real protocols on loopback over the simulated exchange.

Purpose: the demo, the tests, the fault drills, and any bot in any language that wants an exchange
without a network, a key or a cent. `world.py` moves virtual time: markets (market.py) make trades,
book, mark and funding from tapes (tape.py); accounts (accounts.py) trade on them through
`simulation.Exchange`. The doors `binance/` and `bybit/` speak the venues' protocols, server.py
opens them on one port, faults.py makes them fail on purpose. Read world.py first.

It never imports `venues`: recorded and documented messages judge both.
"""
