"""Runs: one finished run, from a spec to a result on disk.

Read `runner.py` first, then `preflight.py` and `artifacts.py`.
"""
