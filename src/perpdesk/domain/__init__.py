"""Words: the field's nouns, frozen and without I/O. Every other room speaks them.

Read `order.py` first, then `events.py`.
"""
