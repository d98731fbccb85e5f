"""Logic: from signal to order. Pure: time, prices and account come in as arguments.

Read `desk.py` first.
"""
