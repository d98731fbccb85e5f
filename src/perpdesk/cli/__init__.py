"""Doors: the desk from a terminal. Commands translate and show; the rooms below decide.

Read `frame.py` first (output, progress, errors), then `main.py` (what is mounted where).
"""
