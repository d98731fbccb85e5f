from dataclasses import replace
from typing import Any

import pytest

from perpdesk.domain.candles import DAY_MS
from perpdesk.domain.errors import Denied
from perpdesk.domain.venue_reports import KeyPermissions
from perpdesk.venues.key_check import KeyUse, check_key

NOW_MS = 1_790_000_000_000  # 2026-09-21
GOOD = KeyPermissions(
    can_read=True, can_trade=True, can_withdraw=False, can_transfer=False, ip_restricted=True
)
LIVE = KeyUse(trades=True, real_money=True)
PRACTICE = KeyUse(trades=True, real_money=False)
DATA = KeyUse(trades=False, real_money=True)


def codes(use: KeyUse, **changes: Any) -> list[str]:
    found = check_key(replace(GOOD, **changes), use, now_ms=NOW_MS)
    assert all(warning.message and warning.next_step for warning in found)
    return [warning.code for warning in found]


@pytest.mark.parametrize("use", [LIVE, PRACTICE, DATA])
def test_a_key_that_may_only_read_and_trade_from_one_address_is_fine(use: KeyUse) -> None:
    assert codes(use) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"can_withdraw": True}, "may withdraw;"),
        ({"can_transfer": True}, "may transfer;"),
        ({"can_withdraw": True, "can_transfer": True}, "may withdraw and transfer;"),
    ],
)
def test_a_key_that_may_move_money_is_refused_for_live_trading(
    changes: dict[str, bool], words: str
) -> None:
    with pytest.raises(Denied, match=words) as refused:
        codes(LIVE, **changes)
    assert refused.value.next_step
    assert codes(PRACTICE, **changes) == codes(DATA, **changes) == ["key_may_move_money"]


def test_a_key_that_may_not_trade_is_refused_for_trading_and_serves_for_data() -> None:
    with pytest.raises(Denied, match="may not trade"):
        codes(LIVE, can_trade=False)
    assert codes(DATA, can_trade=False) == []


def test_a_key_that_may_not_read_is_refused() -> None:
    with pytest.raises(Denied, match="may not read"):
        codes(DATA, can_read=False)


def test_a_key_for_any_address_is_warned_of() -> None:
    assert codes(LIVE, ip_restricted=False) == ["key_without_ip_list"]


def test_a_key_is_warned_of_in_its_last_fourteen_days() -> None:
    assert codes(LIVE, expires_ms=NOW_MS + 14 * DAY_MS) == []
    assert codes(LIVE, expires_ms=NOW_MS + 14 * DAY_MS - 1) == ["key_expires_soon"]
    found = check_key(replace(GOOD, expires_ms=NOW_MS + 3 * DAY_MS), LIVE, now_ms=NOW_MS)
    assert found[0].message == "the key expires on 2026-09-24, in 3 days"


def test_an_expired_key_is_refused() -> None:
    with pytest.raises(Denied, match="expired on 2026-09-21"):
        codes(DATA, expires_ms=NOW_MS)
