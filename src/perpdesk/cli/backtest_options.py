"""What `backtest run` makes of settings, a spec file and options: one spec, or a clear refusal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perpdesk.domain.errors import UsageRefused

if TYPE_CHECKING:
    from perpdesk.backtest.spec import RunSpec
    from perpdesk.settings import Settings

_OPTIONS: Final = {
    "symbols": "--symbol",
    "initial_capital": "--capital",
    "params": "--param",
    "fees.vip_tier": "--vip-tier",
    "fees.commission": "--commission",
    "slippage.model": "--slippage-model",
    "slippage.bps": "--slippage-bps",
}
"""Fields whose option has another name than theirs."""


def defaults(settings: "Settings") -> dict[str, Any]:
    """Return what the settings say where neither options nor a spec do."""
    return {
        "venue": settings.exchange.value,
        "initial_capital": settings.simulation_initial_capital,
        "slippage": {"bps": settings.simulation_slippage},
        "fees": {"commission": settings.simulation_commission},
    }


def checked_spec(
    settings: "Settings",
    path: Path | None,
    given: Mapping[str, Any],
    max_volume_share: str | None,
) -> "RunSpec":
    """Return the spec that settings, file and options make together; later ones win.

    A start or end given as an option replaces that of the window which the file chose; the window's
    other end stays. A fee tier asked for in file or options replaces a commission that only the
    settings name.
    """
    from perpdesk.backtest.spec import load_spec_values, read_spec

    ranged = [f"--{name}" for name in ("start", "end") if given[name]]
    if ranged and given["window"] is not None:
        raise UsageRefused(
            f"--window and {' and '.join(ranged)} exclude each other",
            next_step="Choose the range by its name or by its dates.",
        )
    in_file = load_spec_values(path) if path is not None else {}
    asked = _merged(in_file, without_none(given))
    values = _merged(defaults(settings), asked)
    if ranged:
        _leave_window(values, given)
    fees = asked.get("fees")
    if isinstance(fees, Mapping) and "vip_tier" in fees and "commission" not in fees:
        values["fees"] = dict(fees)
    if given["min_risk_reward"] is not None:
        values.pop("min_risk_reward_by_strategy", None)
    if max_volume_share is not None:
        unlimited = max_volume_share.lower() == "none"
        values["max_volume_share"] = None if unlimited else max_volume_share
    _require(values)
    if path is not None:
        return read_spec(values, origin=f"{path} with the options")
    size = given["sizing"] or {}
    names = {**_OPTIONS, "sizing.value": f"--{size.get('rule', 'risk_pct').replace('_', '-')}"}
    return read_spec(
        values, origin="", name_of=lambda name: names.get(name, f"--{name.replace('_', '-')}")
    )


def _leave_window(values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Make the chosen window's ends the range, where no option names another; unknown ones stay."""
    windows = values.get("windows")
    chosen = windows.get(values.get("window")) if isinstance(windows, Mapping) else None
    if isinstance(chosen, Mapping):
        del values["window"]
        values |= {end: chosen.get(end) for end in ("start", "end") if given[end] is None}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` overridden by `above`; mappings are merged, everything else replaced."""
    result = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = {**result[name], **value} if both else value
    return result


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given."""
    return {name: value for name, value in values.items() if value is not None and value != {}}


def symbols(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the symbols that were given, as exchanges write them."""
    for one in given or ():
        if "," in one:
            each = [name.strip().upper() for name in one.split(",") if name.strip()]
            raise UsageRefused(
                f"--symbol {one} names several symbols at once",
                next_step=f"Repeat --symbol: {' '.join(f'--symbol {name}' for name in each)}.",
            )
    return tuple(one.upper() for one in given or ()) or None


def sizing(
    *, risk_pct: str | None, notional: str | None, quantity: str | None
) -> dict[str, str] | None:
    """Return the one way to size that was given, if any."""
    rules = {"risk_pct": risk_pct, "notional": notional, "quantity": quantity}
    given = [(rule, value) for rule, value in rules.items() if value is not None]
    if len(given) > 1:
        named = " and ".join(f"--{rule.replace('_', '-')}" for rule, _ in given)
        raise UsageRefused(
            f"{named} exclude each other", next_step="Give one way to size, not several."
        )
    return {"rule": given[0][0], "value": given[0][1]} if given else None


def params(given: Sequence[str] | None) -> dict[str, str] | None:
    """Return strategy parameters from name=value texts."""
    if not given:
        return None
    params = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise UsageRefused(
                f"--param {item!r} is not name=value", next_step="Write, say, --param fast=21."
            )
        params[name.strip()] = value.strip()
    return params


def _require(values: Mapping[str, Any]) -> None:
    needed = {"symbols": "--symbol", "strategy": "--strategy", "timeframe": "--timeframe"}
    missing = [option for name, option in needed.items() if not values.get(name)]
    if missing:
        raise UsageRefused(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            next_step="Give it as an option, or in the file after --spec.",
        )
