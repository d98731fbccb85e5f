from dataclasses import fields

import pytest

from perpdesk.venues.endpoints import BINANCE, BYBIT, Endpoints, Leg, loopback

EVERY = [*BINANCE.values(), *BYBIT.values(), *loopback().values()]


def test_each_leg_of_each_venue_has_its_place() -> None:
    assert set(BINANCE) == set(BYBIT) == set(Leg)


@pytest.mark.parametrize("endpoints", EVERY)
def test_addresses_are_bases_of_their_kind(endpoints: Endpoints) -> None:
    for field in fields(endpoints):
        address = getattr(endpoints, field.name)
        scheme = "http" if field.name == "rest" else "ws"
        assert address.startswith(scheme) or (field.name, address) == ("order_entry", "")
        assert not address.endswith("/")


@pytest.mark.parametrize("places", [BINANCE, BYBIT])
def test_practice_orders_never_go_where_real_ones_go(places: dict[Leg, Endpoints]) -> None:
    real, practice = places[Leg.TRADE_LIVE], places[Leg.TRADE_DEMO]
    assert real.rest != practice.rest
    assert real.private_stream != practice.private_stream
    assert real.order_entry != practice.order_entry
