"""Rules, tiers and fees as of a date, and in words what stands in for what."""

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from perpdesk.domain.candles import Venue
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.domain.instrument import FeeRates
from perpdesk.marketdata.exchange_answers import read_answer
from perpdesk.marketdata.instrument_records import day_ms, observation_of, read_observation
from perpdesk.marketdata.instruments import (
    SNAPSHOT,
    InstrumentBook,
    import_exchange_answer,
)

D = Decimal
BOOK = InstrumentBook.load()


def rates(venue: Venue, date: str, vip: str = "VIP0") -> FeeRates:
    ts_ms = day_ms(date)
    return BOOK.as_of(venue, "BTCUSDT", ts_ms, vip_tier=vip).fees.at(ts_ms)


def test_binance_btcusdt_of_2025_is_what_the_exchange_answered() -> None:
    one = BOOK.as_of(Venue.BINANCE, "BTCUSDT", day_ms("2025-08-10"))
    assert (one.base, one.quote) == ("BTC", "USDT")
    assert (one.tick_size, one.step_size, one.min_quantity) == (D("0.1"), D("0.001"), D("0.001"))
    assert one.min_notional == 100
    assert (one.max_limit_quantity, one.max_market_quantity) == (D(1000), D(120))
    assert one.price_band_rate == D("0.05")
    assert one.liquidation_fee_rate == D("0.0125")
    assert one.funding_interval_ms == 28_800_000
    assert one.observed_ms == day_ms("2025-08-07")
    assert "rules" not in one.note


def test_binance_tiers_of_2024_are_what_the_exchange_answered() -> None:
    one = BOOK.as_of(Venue.BINANCE, "BTCUSDT", day_ms("2024-11-01"))
    assert one.tiers_observed_ms == day_ms("2024-10-24")
    third = one.tiers[2]
    assert (third.floor, third.cap, third.max_leverage) == (D(600_000), D(3_000_000), D(75))
    assert (third.maintenance_rate, third.deduction) == (D("0.0065"), D(950))
    # 1,000,000 of notional: 50,000 x 0.4 % + 550,000 x 0.5 % + 400,000 x 0.65 % = 5,550
    tier = one.tier_for(D(1_000_000))
    assert D(1_000_000) * tier.maintenance_rate - tier.deduction == 5550


def test_bybit_tiers_of_2026_are_the_captured_ones() -> None:
    one = BOOK.as_of(Venue.BYBIT, "BTCUSDT", day_ms("2026-08-10"))
    assert [tier.deduction for tier in one.tiers] == [0, 1200, 3020, 4300, 5820, 8460]
    assert [tier.max_leverage for tier in one.tiers] == [100, 90, 80, 75, 70, 65]
    assert "ends at 5,000,000" in one.note
    assert one.liquidation_fee_rate == 0


def test_the_last_observation_before_the_date_is_taken_even_if_a_later_one_is_nearer() -> None:
    one = BOOK.as_of(Venue.BINANCE, "BTCUSDT", day_ms("2025-08-06"))
    assert one.observed_ms == day_ms("2021-07-21")
    assert one.tick_size == D("0.01")
    assert "rules observed on 2021-07-21 stand in for 2025-08-06" in one.note


def test_before_the_first_observation_the_first_one_stands_in() -> None:
    one = BOOK.as_of(Venue.BINANCE, "BTCUSDT", day_ms("2020-03-12"))
    assert one.observed_ms == day_ms("2021-07-21")
    assert "rules observed on 2021-07-21 stand in for 2020-03-12" in one.note
    assert "margin tiers observed on 2021-09-15 stand in for 2020-03-12" in one.note


def test_assumed_values_are_confessed() -> None:
    wif = BOOK.as_of(Venue.BYBIT, "WIFUSDT", day_ms("2025-05-01"))
    assert "the margin tiers of this symbol were not recorded" in wif.note
    assert "the other limits are assumed" in wif.note
    assert wif.funding_interval_ms == 4 * 3_600_000


def test_spot_is_studied_under_the_rules_of_the_perpetual() -> None:
    spot = BOOK.as_of(Venue.BINANCE_SPOT, "BTCUSDT", day_ms("2023-01-01"))
    perpetual = BOOK.as_of(Venue.BINANCE, "BTCUSDT", day_ms("2023-01-01"))
    assert spot.venue is Venue.BINANCE_SPOT
    assert spot.tiers == perpetual.tiers
    assert "spot has no perpetual contract" in spot.note


@pytest.mark.parametrize(
    ("venue", "date", "maker", "taker"),
    [
        (Venue.BINANCE, "2020-01-01", "0.0002", "0.0004"),
        (Venue.BINANCE, "2023-10-30", "0.0002", "0.0004"),
        (Venue.BINANCE, "2024-04-28", "0.0002", "0.0005"),
        (Venue.BINANCE, "2026-06-01", "0.0002", "0.0005"),
        (Venue.BYBIT, "2021-01-01", "-0.00025", "0.00075"),
        (Venue.BYBIT, "2023-01-04", "0.0001", "0.0006"),
        (Venue.BYBIT, "2024-09-01", "0.0002", "0.00055"),
        (Venue.BYBIT, "2026-06-01", "0.0002", "0.00055"),
    ],
)
def test_fees_follow_the_schedule_of_their_day(
    venue: Venue, date: str, maker: str, taker: str
) -> None:
    assert rates(venue, date) == FeeRates(maker=D(maker), taker=D(taker))


@pytest.mark.parametrize(
    ("venue", "vip", "maker", "taker"),
    [
        (Venue.BINANCE, "VIP1", "0.00016", "0.0004"),
        (Venue.BINANCE, "VIP5", "0.00008", "0.00027"),
        (Venue.BINANCE, "VIP9", "0", "0.00017"),
        (Venue.BYBIT, "VIP1", "0.00018", "0.0004"),
        (Venue.BYBIT, "VIP2", "0.00016", "0.000375"),
        (Venue.BYBIT, "SUPREME", "0", "0.0003"),
    ],
)
def test_fees_of_the_vip_tiers_of_2026(venue: Venue, vip: str, maker: str, taker: str) -> None:
    assert rates(venue, "2026-06-01", vip) == FeeRates(maker=D(maker), taker=D(taker))


def test_every_shipped_symbol_has_whole_and_continuous_tiers_at_any_date() -> None:
    for venue in Venue:
        for symbol in BOOK.symbols(venue):
            for year in range(2019, 2028):
                one = BOOK.as_of(venue, symbol, day_ms(f"{year}-01-01"))
                assert one.tiers[0].floor == one.tiers[0].deduction == 0
                for low, high in pairwise(one.tiers):
                    assert low.cap == high.floor
                    assert low.max_leverage >= high.max_leverage
                    step = high.maintenance_rate - low.maintenance_rate
                    assert high.deduction == low.deduction + high.floor * step, (symbol, high)
                for tier in one.tiers:
                    # At full leverage the initial margin must cover the maintenance margin.
                    assert tier.maintenance_rate * tier.max_leverage <= 1


def test_the_main_symbols_of_both_venues_are_shipped() -> None:
    binance = {"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "APEUSDT"}
    assert binance <= set(BOOK.symbols(Venue.BINANCE))
    bybit = {"BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT", "DOGEUSDT", "WIFUSDT", "XRPUSDT"}
    assert bybit <= set(BOOK.symbols(Venue.BYBIT))


def test_every_shipped_document_says_where_it_comes_from() -> None:
    documents = [json.loads(path.read_text()) for path in SNAPSHOT.glob("*.json")]
    assert len(documents) >= 8
    for document in documents:
        assert document["source"]
        observation_of(document)
        for periods in document.get("fees", {}).values():
            assert all(period["source"] for period in periods)


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("shipped", "answer"),
    [
        ("binance-rules-2021-07-21", "binance/rest/recorded/fapi_v1_exchangeInfo-20210721"),
        ("binance-rules-2025-08-07", "binance/rest/recorded/fapi_v1_exchangeInfo-1"),
        ("binance-tiers-2024-10-24", "binance/rest/leverage-brackets-20241024"),
        ("bybit-tiers-2023-08-16", "bybit/rest/recorded-legacy-v2/public_linear_risk-limit-1"),
    ],
)
def test_the_snapshot_says_what_the_recorded_answers_say(
    shared_dir: Path, shipped: str, answer: str
) -> None:
    document = json.loads((SNAPSHOT / f"{shipped}.json").read_text())
    recorded = read_answer(shared_dir / "fixtures" / f"{answer}.json", day_ms(document["observed"]))
    assert document["venue"] == recorded["venue"]
    for kind in ("rules", "tiers"):
        for symbol, rows in document.get(kind, {}).items():
            assert rows == recorded[kind][symbol], symbol


def test_an_unknown_symbol_names_the_known_ones_and_the_way_to_add_it() -> None:
    with pytest.raises(UsageRefused, match="PEPEUSDT is not known on bybit") as refused:
        BOOK.as_of(Venue.BYBIT, "PEPEUSDT", 0)
    assert "BTCUSDT" in refused.value.next_step
    assert "perpdesk data import-instruments" in refused.value.next_step


def test_an_unknown_fee_tier_names_the_known_ones() -> None:
    with pytest.raises(UsageRefused, match="no fees are known for VIP77") as refused:
        BOOK.as_of(Venue.BYBIT, "BTCUSDT", 0, vip_tier="VIP77")
    assert "SUPREME, VIP0, VIP1" in refused.value.next_step


def bybit_rules(symbol: str, tick: str, time_ms: int) -> dict[str, object]:
    return {
        "retCode": 0,
        "time": time_ms,
        "result": {
            "category": "linear",
            "list": [
                {
                    "symbol": symbol,
                    "contractType": "LinearPerpetual",
                    "baseCoin": symbol[:-4],
                    "quoteCoin": "USDT",
                    "fundingInterval": 240,
                    "priceFilter": {"tickSize": tick},
                    "lotSizeFilter": {
                        "qtyStep": "10",
                        "minOrderQty": "10",
                        "maxOrderQty": "5000",
                        "maxMktOrderQty": "700",
                        "minNotionalValue": "5",
                    },
                    "riskParameters": {"priceLimitRatioX": "0.15"},
                }
            ],
        },
    }


def test_an_imported_answer_is_found_beside_the_snapshot(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps(bybit_rules("PEPEUSDT", "0.01", day_ms("2026-02-03"))))
    target, _ = import_exchange_answer(answer, data_dir=tmp_path / "data")
    assert target == tmp_path / "data/instruments/bybit-rules-PEPEUSDT-2026-02-03.json"
    one = InstrumentBook.load(tmp_path / "data").as_of(
        Venue.BYBIT, "PEPEUSDT", day_ms("2026-02-10")
    )
    assert (one.tick_size, one.step_size, one.max_market_quantity) == (D("0.01"), D(10), D(700))
    assert (one.price_band_rate, one.funding_interval_ms) == (D("0.15"), 4 * 3_600_000)
    assert "no margin tiers are known: a cautious table stands in" in one.note
    assert one.tiers[0].max_leverage == 20


def test_an_imported_answer_of_the_same_day_wins_over_the_snapshot(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps(bybit_rules("BTCUSDT", "0.5", day_ms("2025-01-02"))))
    import_exchange_answer(answer, data_dir=tmp_path)
    book = InstrumentBook.load(tmp_path)
    assert book.as_of(Venue.BYBIT, "BTCUSDT", day_ms("2025-02-01")).tick_size == D("0.5")


def test_the_accounts_own_fees_can_be_imported(tmp_path: Path) -> None:
    answer = tmp_path / "fees.json"
    answer.write_text(
        json.dumps(
            {
                "symbol": "BTCUSDT",
                "makerCommissionRate": "0.000140",
                "takerCommissionRate": "0.000320",
            }
        )
    )
    import_exchange_answer(answer, day_ms("2026-01-01"), data_dir=tmp_path)
    one = InstrumentBook.load(tmp_path).as_of(
        Venue.BINANCE, "BTCUSDT", day_ms("2026-02-01"), vip_tier="ACCOUNT"
    )
    assert one.fees.at(day_ms("2026-02-01")) == FeeRates(maker=D("0.00014"), taker=D("0.00032"))
    with pytest.raises(UsageRefused, match="no fees are known for ACCOUNT"):
        InstrumentBook.load().as_of(Venue.BINANCE, "BTCUSDT", 0, vip_tier="ACCOUNT")


def test_a_damaged_record_names_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "instruments"
    folder.mkdir()
    (folder / "broken.json").write_text('{"venue": "binance"}')
    with pytest.raises(DataRefused, match=r"broken\.json is not a readable record"):
        InstrumentBook.load(tmp_path)


@pytest.mark.parametrize("cap", ["50001", "49999"])
def test_tiers_that_do_not_follow_one_another_are_refused(tmp_path: Path, cap: str) -> None:
    row = {"max_leverage": "10", "maintenance_rate": "0.01", "deduction": "0"}
    document = {
        "venue": "binance",
        "observed": "2024-01-01",
        "tiers": {
            "XUSDT": [
                {"floor": "0", "cap": cap, **row},
                {"floor": "50000", "cap": "90000", **row},
            ]
        },
    }
    path = tmp_path / "tiers.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataRefused, match="do not follow one another"):
        read_observation(path)
