"""What a run is: everything that decides its numbers, and nothing else."""

import difflib
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Timeframe, Venue
from perpdesk.domain.errors import PerpdeskError, UsageRefused
from perpdesk.domain.order import WorkingPrice
from perpdesk.marketdata.series import canonical_name
from perpdesk.simulation.settings import ExchangeSettings, LimitFill
from perpdesk.simulation.slippage import (
    FixedSlippage,
    NoSlippage,
    SlippageModel,
    SquareRootImpact,
)
from perpdesk.trading.desk import DeskSettings
from perpdesk.trading.pending import ConfirmAfter
from perpdesk.trading.risk import RiskLimits
from perpdesk.trading.sizing import FixedNotional, FixedQuantity, PercentRisk, Sizing


def parse_moment(value: object) -> int:
    """Return a UTC time in ms from "2023-01-01", "2023-01-01T08:00Z" or a number of ms.

    Raises ValueError for a time of day without a zone: whose morning would it be?
    """
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a time")
    if isinstance(value, int):
        return value
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
    else:
        text = str(value).strip()
        if text.isdigit() and len(text) >= 12:
            return int(text)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is not a date; write 2023-01-31 or 2023-01-31T08:00Z"
            ) from None
        if len(text) == 10:
            moment = moment.replace(tzinfo=UTC)
    if moment.tzinfo is None:
        raise ValueError(f"{value} has no time zone; write it in UTC, as in 2023-01-31T08:00Z")
    return round(moment.timestamp() * 1000)


def _parse_timeframe(value: object) -> str:
    try:
        return canonical_name(Timeframe.parse(str(value)))
    except PerpdeskError as error:
        raise ValueError(f"{error.message}. {error.next_step}") from None


Moment = Annotated[int, BeforeValidator(parse_moment)]
TimeframeName = Annotated[str, BeforeValidator(_parse_timeframe)]
Amount = Annotated[Decimal, Field(allow_inf_nan=False)]
Floor = Annotated[Decimal, Field(allow_inf_nan=False, ge=0, le=1000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Window(_Part):
    """A named range of the data, so that tuning and testing keep to their own."""

    start: Moment | None = None
    end: Moment | None = None


class SlippageKind(StrEnum):
    """none; fixed: `bps`; impact: half spread plus square root of the share of volume."""

    NONE = "none"
    FIXED = "fixed"
    IMPACT = "impact"


class SlippageSpec(_Part):
    """What takers lose against the price they aim at, in basis points."""

    model: SlippageKind = SlippageKind.FIXED
    bps: Amount = Field(Decimal(2), ge=0, le=1000)
    half_spread_bps: Amount = Field(Decimal(1), ge=0, le=1000)
    impact_bps: Amount = Field(Decimal(20), ge=0, le=10_000)

    def build(self) -> SlippageModel:
        """Return the model."""
        if self.model is SlippageKind.FIXED and self.bps:
            return FixedSlippage(self.bps)
        if self.model is SlippageKind.IMPACT:
            return SquareRootImpact(self.half_spread_bps, self.impact_bps)
        return NoSlippage()


class SizingSpec(_Part):
    """How much to trade: percent of equity at risk, or a fixed notional or quantity."""

    rule: Literal["risk_pct", "notional", "quantity"] = "risk_pct"
    value: Amount = Field(Decimal(1), gt=0)

    @model_validator(mode="after")
    def _risk_is_a_share(self) -> Self:
        if self.rule == "risk_pct" and self.value > 100:
            raise ValueError("risk_pct is percent of equity and cannot exceed 100")
        return self

    def build(self) -> Sizing:
        """Return the rule."""
        if self.rule == "notional":
            return FixedNotional(self.value)
        return FixedQuantity(self.value) if self.rule == "quantity" else PercentRisk(self.value)


class FeeSpec(_Part):
    """Fees by the venue's dated schedule of a VIP tier, or one custom rate for maker and taker."""

    vip_tier: str = "VIP0"
    commission: Amount | None = Field(None, ge=Decimal("-0.001"), le=Decimal("0.01"))


class RunSpec(_Part):
    """One backtest. Times are UTC ms, half-open [start, end); None means as far as data goes.

    execution_timeframe: None takes the finest stored one that covers the range. leverage: of every
    symbol. confirm_delay_ms: how long a human would take. max_volume_share: part of a bar's volume
    that our orders may take; None for no limit. allow_gaps: run over holes in funding, and say so.
    min_risk_reward_by_strategy: floors of some strategies, by name or name@version.
    """

    venue: Venue
    symbols: tuple[str, ...] = Field(min_length=1)
    strategy: str
    timeframe: TimeframeName
    execution_timeframe: TimeframeName | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    start: Moment | None = None
    end: Moment | None = None
    windows: dict[str, Window] = Field(default_factory=dict)
    window: str | None = None
    initial_capital: Amount = Field(Decimal(10_000), gt=0, le=Decimal(10) ** 9)
    leverage: Amount = Field(Decimal(1), ge=1, le=200)
    margin_mode: MarginMode = MarginMode.ISOLATED
    sizing: SizingSpec = SizingSpec()
    min_risk_reward: Floor = Decimal(3)
    min_risk_reward_by_strategy: dict[str, Floor] = Field(default_factory=dict)
    min_confidence: float = Field(0.0, ge=0.0, le=1.0)
    stop_watches: WorkingPrice = WorkingPrice.LAST
    fees: FeeSpec = FeeSpec()
    slippage: SlippageSpec = SlippageSpec()
    limit_fill: LimitFill = LimitFill.THROUGH
    max_volume_share: Amount | None = Field(Decimal("0.25"), gt=0, le=1)
    confirm_delay_ms: int = Field(0, ge=0, le=7 * 86_400_000)
    max_confirm_drift_pct: Amount | None = Field(None, gt=0)
    allow_gaps: bool = False
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _one_symbol_may_stand_alone(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("symbols"), str):
            return {**values, "symbols": (values["symbols"],)}
        return values

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("a symbol is named twice")
        if self.window is not None and self.window not in self.windows:
            known = ", ".join(self.windows) or "none"
            raise ValueError(f"there is no window {self.window!r}; the spec has {known}")
        start, end = self.range_ms
        if start is not None and end is not None and start >= end:
            raise ValueError(f"the start {_iso(start)} is not before the end {_iso(end)}")
        return self

    @property
    def range_ms(self) -> tuple[int | None, int | None]:
        """Return start and end of the run: the chosen window's, where one is chosen."""
        if self.window is None:
            return self.start, self.end
        chosen = self.windows[self.window]
        return chosen.start, chosen.end

    def content_hash(self) -> str:
        """Return a hash of everything that decides the run's numbers."""
        return hashlib.blake2b(self.model_dump_json().encode(), digest_size=8).hexdigest()

    def exchange_settings(self) -> ExchangeSettings:
        """Return the account and the fill model."""
        return ExchangeSettings(
            initial_capital=self.initial_capital,
            leverage=self.leverage,
            margin_mode=self.margin_mode,
            slippage=self.slippage.build(),
            max_volume_share=self.max_volume_share,
            limit_fill=self.limit_fill,
        )

    def desk_settings(self) -> DeskSettings:
        """Return the desk's sizing and limits."""
        return DeskSettings(
            name="bt",
            sizing=self.sizing.build(),
            limits=RiskLimits(
                min_risk_reward=self.min_risk_reward,
                min_risk_reward_by_strategy=self.min_risk_reward_by_strategy,
                min_confidence=self.min_confidence,
                max_confirm_drift_pct=self.max_confirm_drift_pct,
            ),
            stop_watches=self.stop_watches,
        )

    def policy(self) -> ConfirmAfter:
        """Return who confirms, and when."""
        return ConfirmAfter(self.confirm_delay_ms)


_SECTIONS: Final[dict[str, type[_Part]]] = {
    "windows": Window,
    "slippage": SlippageSpec,
    "sizing": SizingSpec,
    "fees": FeeSpec,
}


def _iso(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")


def read_spec(
    values: Mapping[str, Any], *, origin: str, name_of: Callable[[str], str] = str
) -> RunSpec:
    """Return a validated spec; raises UsageRefused naming every wrong field.

    origin: where the values come from, "" where that needs no telling. name_of: what the user calls
    a field.
    """
    try:
        return RunSpec.model_validate({str(name): value for name, value in values.items()})
    except ValidationError as error:
        items = error.errors(include_url=False, include_context=False)
        problems = "; ".join(_problem(item, name_of) for item in items)
        raise UsageRefused(
            f"{origin}: {problems}" if origin else problems,
            next_step="Correct it; `perpdesk backtest run --help` explains every option.",
        ) from None


def _problem(item: Any, name_of: Callable[[str], str]) -> str:
    place = ".".join(str(step) for step in item["loc"])
    words = str(item["msg"]).removeprefix("Value error, ")
    if not place:
        return words
    if item["type"] == "extra_forbidden":
        section = str(item["loc"][0]) if len(item["loc"]) > 1 else ""
        model: type[_Part] = _SECTIONS.get(section, RunSpec)
        known = list(model.model_fields)
        similar = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known)}"
        return f"there is no field {place}; {hint}"
    if item["type"] == "missing":
        return f"{name_of(place)} is missing"
    if item["type"] == "value_error":
        return f"{name_of(place)}: {words}"
    given = str(item["input"])
    shown = given if len(given) <= 60 else f"{given[:57]}..."
    return f"{name_of(place)} {shown} is refused: {words.replace('Input should be', 'it must be')}"


class _SpecLoader(yaml.SafeLoader):
    """YAML whose impossible dates stay text, so that the field which holds one can be named."""


def _date_or_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError:
        return node.value


_SpecLoader.add_constructor("tag:yaml.org,2002:timestamp", _date_or_text)


def load_spec_values(path: Path) -> dict[str, Any]:
    """Read a spec file (YAML, of which JSON is a part) as plain values; `symbol` means `symbols`.

    Raises UsageRefused where the file is missing, is no YAML, or is no mapping.
    """
    try:
        # A safe loader, but for impossible dates.
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_SpecLoader)
    except FileNotFoundError:
        raise UsageRefused(
            f"there is no spec file {path}", next_step="Check the path after --spec."
        ) from None
    except OSError as error:
        raise UsageRefused(
            f"the spec file {path} cannot be read: {error.strerror}",
            next_step="Give the path of a file that you may read after --spec.",
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        words = " ".join(str(error).split())
        raise UsageRefused(
            f"{path} is not YAML: {words}", next_step="Correct the file at the place named."
        ) from None
    if not isinstance(loaded, dict):
        raise UsageRefused(
            f"{path} holds no mapping of fields to values",
            next_step="Write lines such as `strategy: smc` and `timeframe: 1h`.",
        )
    if "symbol" in loaded and "symbols" not in loaded:
        loaded["symbols"] = loaded.pop("symbol")
    return loaded
