"""What every strategy keeps to, as a test suite that authors run on theirs.

    from perpdesk.strategies.contract import StrategyContract
    from my_strategies import Mine

    class TestMine(StrategyContract):
        strategy = Mine

pytest collects the `test_` methods of the subclass. `perpdesk strategies check` runs the same.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final

from perpdesk.domain.candles import Candles
from perpdesk.domain.errors import PerpdeskError
from perpdesk.domain.signal import SignalKind
from perpdesk.strategies.base import ArrayStrategy, SignalStrategy, StrategyContext
from perpdesk.strategies.failures import failure, iso
from perpdesk.strategies.lookahead import check_strategy
from perpdesk.strategies.markets import difficult_markets, random_market
from perpdesk.strategies.parameters import params_schema
from perpdesk.strategies.registry import fault_of
from perpdesk.strategies.replay import signals_of

Strategy = type[SignalStrategy]

_SEED: Final = 20_230_101


def check_identity(cls: Strategy, params: Any) -> None:
    """Name, version, API version, timeframes and functions are what the registry accepts."""
    fault = fault_of(cls)
    assert fault is None, fault


def check_schema(cls: Strategy, params: Any) -> None:
    """Every parameter says what it means, and all of them have defaults."""
    schema = params_schema(cls)
    for name, field in schema.get("properties", {}).items():
        assert field.get("description"), f"parameter {name} has no description"
    required = schema.get("required", [])
    assert not required, f"parameters without a default: {', '.join(required)}"


def check_params_as_json(cls: Strategy, params: Any) -> None:
    """Parameters written as JSON and read again are the same."""
    again = cls.Params.model_validate_json(params.model_dump_json())
    assert again == params, f"{params!r} came back from JSON as {again!r}"
    assert again.content_hash() == params.content_hash(), "the same values have another hash"


def check_repeatable(cls: Strategy, params: Any) -> None:
    """The same candles give the same signals."""
    for candles in _markets(cls, params):
        context = context_of(candles)
        first = signals_of(cls, params, context, candles)
        second = signals_of(cls, params, context, candles)
        assert first == second, "a second run over the same candles gave other signals"


def check_look_ahead(cls: Strategy, params: Any) -> None:
    """Cutting off or changing the future changes no past signal, nor does forgotten history."""
    for candles in _markets(cls, params):
        verdict = check_strategy(cls, params, candles, context_of(candles), seed=_SEED)
        assert verdict.passed, verdict.text


def check_warmup(cls: Strategy, params: Any) -> None:
    """Nothing is signaled before the warm-up is over, and each signal carries its bar's close."""
    warmup, memory = cls.warmup_candles(params), cls.memory_candles(params)
    assert warmup >= 1, f"warmup_candles is {warmup}; one candle is the least"
    assert memory >= warmup, f"memory_candles {memory} is below warmup_candles {warmup}"
    for candles in _markets(cls, params):
        for row, signal in signals_of(cls, params, context_of(candles), candles):
            bar = iso(int(candles.ts_ms[row]))
            assert row >= warmup - 1, f"bar {bar} signals within the warm-up of {warmup} candles"
            close_ms = candles.timeframe.close_ms(int(candles.ts_ms[row]))
            assert signal.ts_ms == close_ms, f"bar {bar}: the signal's time is not its bar's close"


def check_stops(cls: Strategy, params: Any) -> None:
    """Every entry has a stop, on the right side; without one it cannot be sized, and is denied."""
    for candles in _markets(cls, params):
        for row, signal in signals_of(cls, params, context_of(candles), candles):
            if signal.kind is SignalKind.ENTRY:
                bar = iso(int(candles.ts_ms[row]))
                assert signal.stop_loss is not None, f"bar {bar}: the entry has no stop_loss"


def check_difficult_markets(cls: Strategy, params: Any) -> None:
    """No candles, few, flat, jumping, tiny and huge prices raise nothing."""
    for what, candles in difficult_markets(2 * _rows(cls, params) // 3).items():
        try:
            # Backtrader cannot fill an indicator that is longer than its data.
            if issubclass(cls, ArrayStrategy) or len(candles) >= cls.warmup_candles(params):
                signals_of(cls, params, context_of(candles), candles)
        except PerpdeskError as error:
            raise AssertionError(f"{what}: {error.message}") from error


Check = Callable[[Strategy, Any], None]

CHECKS: Final[Mapping[str, Check]] = {
    "identity": check_identity,
    "schema": check_schema,
    "params_as_json": check_params_as_json,
    "repeatable": check_repeatable,
    "look_ahead": check_look_ahead,
    "warmup": check_warmup,
    "stops": check_stops,
    "difficult_markets": check_difficult_markets,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractResult:
    """One check of the contract. fault: what is wrong, None if nothing was found."""

    name: str
    promise: str
    fault: str | None


def run_contract(cls: Strategy, params: Any) -> Iterator[ContractResult]:
    """Yield the result of each check; whatever the strategy raises is a fault with its place."""
    for name, check in CHECKS.items():
        fault = None
        try:
            check(cls, params)
        except AssertionError as error:
            fault = str(error)
        except PerpdeskError as error:
            fault = error.message
        except (Exception, SystemExit) as error:
            fault = failure(cls, error, bar_open_ms=None).message
        yield ContractResult(name=name, promise=check.__doc__ or name, fault=fault)


class StrategyContract:
    """The contract as tests. Set `strategy`; set `params` for others than the defaults."""

    strategy: ClassVar[Strategy]
    params: ClassVar[Any] = None

    def _keeps(self, check: Check) -> None:
        check(self.strategy, self.params or self.strategy.Params())

    def test_name_version_and_api_version_are_valid(self) -> None:
        """See `check_identity`."""
        self._keeps(check_identity)

    def test_every_parameter_has_a_description_and_a_default(self) -> None:
        """See `check_schema`."""
        self._keeps(check_schema)

    def test_parameters_survive_json(self) -> None:
        """See `check_params_as_json`."""
        self._keeps(check_params_as_json)

    def test_the_same_candles_give_the_same_signals(self) -> None:
        """See `check_repeatable`."""
        self._keeps(check_repeatable)

    def test_cutting_off_the_future_changes_no_past_signal(self) -> None:
        """See `check_look_ahead`."""
        self._keeps(check_look_ahead)

    def test_nothing_is_signaled_before_the_warm_up_is_over(self) -> None:
        """See `check_warmup`."""
        self._keeps(check_warmup)

    def test_every_entry_has_a_stop_on_the_right_side(self) -> None:
        """See `check_stops`."""
        self._keeps(check_stops)

    def test_difficult_markets_raise_nothing(self) -> None:
        """See `check_difficult_markets`."""
        self._keeps(check_difficult_markets)


def context_of(candles: Candles) -> StrategyContext:
    """Return the context of a drawn market: a tick small enough for any of its prices."""
    return StrategyContext(
        venue=candles.venue,
        symbol=candles.symbol,
        timeframe=candles.timeframe,
        tick_size=Decimal("0.00000001"),
    )


def _markets(cls: Strategy, params: Any) -> Iterator[Candles]:
    for timeframe in (cls.timeframes or ("1h",))[:2]:
        yield random_market(_rows(cls, params), seed=_SEED, timeframe=timeframe)


def _rows(cls: Strategy, params: Any) -> int:
    """Return a length that leaves room beyond the memory, and stays quick bar by bar."""
    least = 1500 if issubclass(cls, ArrayStrategy) else 600
    return max(least, 3 * cls.memory_candles(params))
