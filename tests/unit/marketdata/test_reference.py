"""What a venue says of its instruments is kept by date, and only where it says something new."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from perpdesk.domain.candles import DAY_MS, HOUR_MS, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.domain.ports import ReferenceAnswer
from perpdesk.marketdata.exchange_answers import read_answer
from perpdesk.marketdata.instrument_records import day_ms
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.marketdata.reference import ReferenceKeeper

NOW_MS = day_ms("2026-11-20") + 10 * HOUR_MS


def exchange_info(tick_size: str = "0.20", symbols: Sequence[str] = ("BTCUSDT", "BLZUSDT")) -> Any:
    """An answer of the form in reference/exchanges.md 3.1."""
    return {
        "serverTime": NOW_MS,
        "symbols": [
            {
                "symbol": symbol,
                "contractType": "PERPETUAL",
                "baseAsset": symbol.removesuffix("USDT"),
                "quoteAsset": "USDT",
                "liquidationFee": "0.012500",
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": tick_size},
                    {
                        "filterType": "LOT_SIZE",
                        "minQty": "0.001",
                        "maxQty": "1000",
                        "stepSize": "0.001",
                    },
                    {"filterType": "MARKET_LOT_SIZE", "maxQty": "120"},
                    {"filterType": "MIN_NOTIONAL", "notional": "100"},
                    {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500"},
                ],
            }
            for symbol in symbols
        ],
    }


def brackets(rate: float = 0.004) -> Any:
    row = {"bracket": 1, "initialLeverage": 125, "notionalFloor": 0, "notionalCap": 50_000}
    return [{"symbol": "BTCUSDT", "brackets": [{**row, "maintMarginRatio": rate, "cum": 0.0}]}]


def commission(taker: str = "0.0004", symbol: str = "BTCUSDT") -> Any:
    return {"symbol": symbol, "makerCommissionRate": "0.0002", "takerCommissionRate": taker}


@dataclass
class FakeReference:
    """Answers what a test puts in. asked: the symbols of every request."""

    answers: dict[str, Any]
    observed_ms: int = NOW_MS
    asked: list[tuple[str, ...]] = field(default_factory=list)
    venue: Venue = Venue.BINANCE

    async def symbols(self) -> tuple[str, ...]:
        return ("BTCUSDT", "BLZUSDT")

    async def reference(self, symbols: Sequence[str]) -> tuple[ReferenceAnswer, ...]:
        self.asked.append(tuple(symbols))
        return tuple(
            ReferenceAnswer(name=name.split("/")[0], answer=answer, observed_ms=self.observed_ms)
            for name, answer in self.answers.items()
        )


@pytest.fixture
def source() -> FakeReference:
    return FakeReference(
        {
            "exchangeInfo": exchange_info(),
            "fundingInfo": [{"symbol": "BLZUSDT", "fundingIntervalHours": 4}],
            "leverageBracket": brackets(),
            "commissionRate/1": commission(),
            "commissionRate/2": commission(symbol="BLZUSDT"),
        }
    )


def documents(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "instruments").glob("[!_]*"))


async def test_rules_tiers_intervals_and_fees_are_kept_as_of_their_date(
    tmp_path: Path, source: FakeReference
) -> None:
    kept = await ReferenceKeeper(tmp_path, source).refresh()
    assert source.asked == [("BTCUSDT", "BLZUSDT")]
    assert kept.changed["fees"] == ("ACCOUNT:BTCUSDT", "ACCOUNT:BLZUSDT")
    assert kept.changed["funding_intervals"] == ("BLZUSDT",)
    assert documents(tmp_path) == ["binance-venue-2026-11-20.json"]
    book = InstrumentBook.load(tmp_path)
    one = book.as_of(Venue.BINANCE, "BTCUSDT", NOW_MS, vip_tier="ACCOUNT")
    assert (one.tick_size, one.tiers[0].cap) == (Decimal("0.2"), Decimal(50_000))
    assert one.fees.at(NOW_MS).taker == Decimal("0.0004")
    assert one.funding_interval_ms == 8 * HOUR_MS
    assert book.as_of(Venue.BINANCE, "BLZUSDT", NOW_MS).funding_interval_ms == 4 * HOUR_MS
    # Three weeks before, the package's own record stands.
    before = book.as_of(Venue.BINANCE, "BTCUSDT", day_ms("2026-11-01"))
    assert before.tick_size == Decimal("0.1")
    assert "observed on 2025-08-07" in before.note


async def test_an_answer_that_changes_nothing_is_not_stored_again_but_confirmed(
    tmp_path: Path, source: FakeReference
) -> None:
    await ReferenceKeeper(tmp_path, source).refresh()
    source.observed_ms += 60 * DAY_MS
    kept = await ReferenceKeeper(tmp_path, source).refresh()
    # Two rules, two intervals, one table of tiers, two fees.
    assert (kept.path, dict(kept.changed), kept.unchanged) == (None, {}, 7)
    assert documents(tmp_path) == ["binance-venue-2026-11-20.json"]
    note = InstrumentBook.load(tmp_path).as_of(Venue.BINANCE, "BTCUSDT", source.observed_ms).note
    assert "stand in" not in note
    later = source.observed_ms + 40 * DAY_MS
    note = InstrumentBook.load(tmp_path).as_of(Venue.BINANCE, "BTCUSDT", later).note
    assert "rules observed on 2026-11-20 stand in" in note


async def test_only_what_changed_is_stored_under_the_new_date(
    tmp_path: Path, source: FakeReference
) -> None:
    await ReferenceKeeper(tmp_path, source).refresh()
    source.observed_ms += DAY_MS
    source.answers |= {
        "leverageBracket": brackets(0.005),
        "commissionRate/1": commission("0.0003"),
        "fundingInfo": [{"symbol": "BTCUSDT", "fundingIntervalHours": 1}],
    }
    kept = await ReferenceKeeper(tmp_path, source).refresh()
    assert kept.changed == {
        "tiers": ("BTCUSDT",),
        "funding_intervals": ("BTCUSDT", "BLZUSDT"),
        "fees": ("ACCOUNT:BTCUSDT",),
    }
    document = json.loads((tmp_path / "instruments/binance-venue-2026-11-21.json").read_text())
    assert "rules" not in document
    book = InstrumentBook.load(tmp_path)
    for day, rate, taker, hours in ((0, "0.004", "0.0004", 8), (1, "0.005", "0.0003", 1)):
        then = NOW_MS + day * DAY_MS
        one = book.as_of(Venue.BINANCE, "BTCUSDT", then, vip_tier="ACCOUNT")
        assert one.tiers[0].maintenance_rate == Decimal(rate)
        assert one.fees.at(then).taker == Decimal(taker)
        assert one.funding_interval_ms == hours * HOUR_MS
    # It is no longer listed, so it is back at the default.
    blz = book.as_of(Venue.BINANCE, "BLZUSDT", NOW_MS + DAY_MS)
    assert blz.funding_interval_ms == 8 * HOUR_MS


async def test_funding_info_without_a_symbol_puts_all_at_the_default(
    tmp_path: Path, source: FakeReference
) -> None:
    await ReferenceKeeper(tmp_path, source).refresh()
    source.observed_ms += DAY_MS
    source.answers["fundingInfo"] = []
    kept = await ReferenceKeeper(tmp_path, source).refresh()
    assert dict(kept.changed) == {"funding_intervals": ("BLZUSDT",)}


async def test_a_change_on_the_same_day_joins_the_document_of_the_day(
    tmp_path: Path, source: FakeReference
) -> None:
    await ReferenceKeeper(tmp_path, source).refresh()
    source.answers = {"exchangeInfo": exchange_info("0.50", ["BTCUSDT"])}
    await ReferenceKeeper(tmp_path, source).refresh()
    assert documents(tmp_path) == ["binance-venue-2026-11-20.json"]
    book = InstrumentBook.load(tmp_path)
    assert book.as_of(Venue.BINANCE, "BTCUSDT", NOW_MS).tick_size == Decimal("0.5")
    assert book.as_of(Venue.BINANCE, "BLZUSDT", NOW_MS).tick_size == Decimal("0.2")


async def test_rules_without_funding_info_leave_the_known_intervals(
    tmp_path: Path, source: FakeReference
) -> None:
    await ReferenceKeeper(tmp_path, source).refresh()
    source.observed_ms += DAY_MS
    source.answers = {"exchangeInfo": exchange_info("0.40")}
    await ReferenceKeeper(tmp_path, source).refresh()
    blz = InstrumentBook.load(tmp_path).as_of(Venue.BINANCE, "BLZUSDT", source.observed_ms)
    assert (blz.funding_interval_ms, blz.tick_size) == (4 * HOUR_MS, Decimal("0.4"))


async def test_rules_are_asked_for_again_only_after_an_hour(
    tmp_path: Path, source: FakeReference
) -> None:
    clock = [NOW_MS]
    keeper = ReferenceKeeper(tmp_path, source, now_ms=lambda: clock[0])
    assert await keeper.refresh_if_older(["BTCUSDT"]) is not None
    clock[0] += HOUR_MS
    assert await keeper.refresh_if_older(["BTCUSDT"]) is None
    # A restart knows it too.
    again = ReferenceKeeper(tmp_path, source, now_ms=lambda: clock[0])
    assert await again.refresh_if_older(["BTCUSDT"]) is None
    clock[0] += 1
    source.observed_ms = clock[0]
    assert await again.refresh_if_older(["BTCUSDT"]) is not None
    assert await again.refresh_if_older(["BTCUSDT", "ETHUSDT"]) is not None
    assert len(source.asked) == 3


@pytest.mark.parametrize("answer", [{}, [], "<html>", None])
async def test_an_answer_that_is_none_is_refused_and_nothing_is_kept(
    tmp_path: Path, source: FakeReference, answer: Any
) -> None:
    source.answers["leverageBracket"] = answer
    with pytest.raises(DataRefused, match="the answer of leverageBracket is no answer"):
        await ReferenceKeeper(tmp_path, source).refresh()
    assert not (tmp_path / "instruments").exists()


async def test_answers_of_the_other_venue_are_refused(
    tmp_path: Path, source: FakeReference
) -> None:
    source.venue = Venue.BYBIT
    with pytest.raises(DataRefused, match="those of binance, not of bybit"):
        await ReferenceKeeper(tmp_path, source).refresh()


async def test_a_venue_that_says_nothing_is_refused(tmp_path: Path, source: FakeReference) -> None:
    source.answers = {}
    with pytest.raises(DataRefused, match="said nothing"):
        await ReferenceKeeper(tmp_path, source).refresh()


def test_funding_info_can_be_imported_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "fundingInfo.json"
    path.write_text(json.dumps([{"symbol": "BLZUSDT", "fundingIntervalHours": 4}]))
    document = read_answer(path, NOW_MS)
    assert document["funding_intervals"] == {"BLZUSDT": 4 * HOUR_MS}


def test_one_symbol_of_leverage_brackets_may_come_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(brackets()[0]))
    assert list(read_answer(path, NOW_MS)["tiers"]) == ["BTCUSDT"]


@pytest.mark.recorded
async def test_recorded_answers_of_both_venues_are_kept(shared_dir: Path, tmp_path: Path) -> None:
    recorded = {
        Venue.BINANCE: (
            "binance/rest/recorded/fapi_v1_exchangeInfo-1.json",
            "binance/examples/rest/ExchangeData-GetFundingInfo.json",
        ),
        Venue.BYBIT: ("bybit/docs/market_instrument-1.json", "bybit/docs/account_fee-rate-1.json"),
    }
    for venue, names in recorded.items():
        answers = {}
        for name in names:
            raw = json.loads((shared_dir / "fixtures" / name).read_text())
            answers[name.split("/")[-1]] = raw.get("response", raw)
        source = FakeReference(answers, venue=venue)
        first = await ReferenceKeeper(tmp_path, source).refresh(["BTCUSDT"])
        assert first.path is not None
        source.observed_ms += HOUR_MS
        assert (await ReferenceKeeper(tmp_path, source).refresh(["BTCUSDT"])).path is None
