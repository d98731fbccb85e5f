"""What a key may do, judged before it is used: no withdrawal, the right to trade, an IP list.

Source: reference/reliability.md D.2 (a key without withdrawal right was still drained where it was
not bound to an address; one with it needs no such trick).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from perpdesk.domain.candles import DAY_MS
from perpdesk.domain.errors import Denied
from perpdesk.domain.venue_reports import KeyPermissions

EXPIRY_WARNING_DAYS: Final = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What the key is wanted for. real_money: whether it is a live account's."""

    trades: bool
    real_money: bool

    @property
    def trades_live(self) -> bool:
        """Tell whether orders of this key cost real money."""
        return self.trades and self.real_money


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWarning:
    """What speaks against the key without forbidding it. code: stable, for screens and logs."""

    code: str
    message: str
    next_step: str


def check_key(permissions: KeyPermissions, use: KeyUse, *, now_ms: int) -> tuple[KeyWarning, ...]:
    """Return what to warn of.

    now_ms: by the venue's clock. Raises Denied where the key must not be used so: it may move money
    out of the account it trades live, may not trade although it should, may not read, or is over.
    """
    _refuse(permissions, use, now_ms)
    warnings = []
    if not permissions.ip_restricted:
        warnings.append(
            KeyWarning(
                code="key_without_ip_list",
                message="the key works from any address: whoever copies it can trade with it",
                next_step="Bind the key to this machine's address on the venue's API page.",
            )
        )
    if not use.trades_live and (permissions.can_withdraw or permissions.can_transfer):
        warnings.append(
            KeyWarning(
                code="key_may_move_money",
                message=f"the key may {_movements(permissions)}; live trading would refuse it",
                next_step="Take that right from the key; the desk never needs it.",
            )
        )
    warnings += _expiry(permissions, now_ms)
    return tuple(warnings)


def _refuse(permissions: KeyPermissions, use: KeyUse, now_ms: int) -> None:
    expires_ms = permissions.expires_ms
    if expires_ms is not None and expires_ms <= now_ms:
        raise Denied(
            f"the API key expired on {_day(expires_ms)}",
            next_step="Create a new key on the venue's API page, bound to this machine's address.",
        )
    if use.trades_live and (permissions.can_withdraw or permissions.can_transfer):
        raise Denied(
            f"the API key may {_movements(permissions)}; a key for live trading must not",
            next_step="Create a key that may read and trade futures, and nothing else.",
        )
    if use.trades and not permissions.can_trade:
        raise Denied(
            "the API key may not trade futures",
            next_step="Allow futures trading for the key on the venue's API page, or use it for "
            "data only.",
        )
    if not permissions.can_read:
        raise Denied(
            "the API key may not read the account",
            next_step="Allow reading for the key on the venue's API page.",
        )


def _expiry(permissions: KeyPermissions, now_ms: int) -> list[KeyWarning]:
    expires_ms = permissions.expires_ms
    if expires_ms is None or expires_ms - now_ms >= EXPIRY_WARNING_DAYS * DAY_MS:
        return []
    days = (expires_ms - now_ms) // DAY_MS
    return [
        KeyWarning(
            code="key_expires_soon",
            message=f"the key expires on {_day(expires_ms)}, in {days} days",
            next_step="Create a new key in time; a key that is bound to an address does not "
            "expire.",
        )
    ]


def _movements(permissions: KeyPermissions) -> str:
    rights = []
    if permissions.can_withdraw:
        rights.append("withdraw")
    if permissions.can_transfer:
        rights.append("transfer")
    return " and ".join(rights)


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
