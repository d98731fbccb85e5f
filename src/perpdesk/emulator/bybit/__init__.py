"""The emulator's Bybit v5 door: linear perpetuals over REST, streams and the trade socket.

Read door.py first: routes and what surrounds every request. auth.py and rates.py judge requests;
*_rest.py answer them; order_entry.py turns words into orders; trader.py is what the door remembers
of an account; *_rows.py are the venue's words for what the world knows.
"""
