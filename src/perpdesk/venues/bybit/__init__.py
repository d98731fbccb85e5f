"""Bybit v5 linear perpetuals through pybit; read connect.py first, it names every part.

rest.py (orders) and account.py ask through transport.py, which alone speaks HTTP; codes.py and
failures.py say what a refusal means. stream.py runs market_stream.py and account_stream.py over
sockets.py. wire.py, market_wire.py, ledger_wire.py and order_parameters.py are the words: pure.
"""
