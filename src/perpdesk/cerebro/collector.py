"""Python's cyclic garbage collector, kept from walking a run's history over and over."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Switch the cyclic collector off for a while.

    A run keeps hundreds of thousands of events, none of them garbage; each full collection would
    visit them all, which costs an order-heavy run up to half of its time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Into the oldest generation, unvisited: the first collection would walk it all at once.
        gc.freeze()
        gc.unfreeze()
        if was_enabled:
            gc.enable()
