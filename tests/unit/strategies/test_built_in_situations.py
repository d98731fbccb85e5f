"""Each built-in in situations small enough to work out by hand."""

import numpy as np
import pytest
from pydantic import ValidationError
from tests.unit.strategies.drawing import closes

from perpdesk.domain.candles import Candles
from perpdesk.strategies.base import ArrayStrategy, SignalArrays
from perpdesk.strategies.builtin.bollinger_reversion import BollingerReversion
from perpdesk.strategies.builtin.donchian_breakout import DonchianBreakout
from perpdesk.strategies.builtin.rsi_momentum import RsiMomentum

RSI = RsiMomentum.Params(rsi_period=2, band=20, trend_period=3, atr_period=1, stop_atr=1)
BANDS = BollingerReversion.Params(period=4, width=1, atr_period=1, stop_atr=0)
CHANNEL = DonchianBreakout.Params(entry_bars=3, exit_bars=2, atr_period=1, stop_atr=1)


def mirrored(values: list[float], around: float) -> list[float]:
    return [2 * around - value for value in values]


def entries(arrays: SignalArrays) -> dict[int, int]:
    return {int(row): int(arrays.side[row]) for row in np.flatnonzero(arrays.side)}


def exits(arrays: SignalArrays) -> dict[int, int]:
    assert arrays.exit_side is not None
    return {int(row): int(arrays.exit_side[row]) for row in np.flatnonzero(arrays.exit_side)}


def reason(arrays: SignalArrays, row: int) -> str:
    assert arrays.reason_code is not None
    return arrays.reasons[int(arrays.reason_code[row])]


def test_rsi_enters_with_the_trend_leaves_in_the_middle_and_turns() -> None:
    # RSI of 2: -, -, 66.7, 80, 30.8, 19.0; average of 3: -, -, 11, 11.5, 10.75, 9.875
    arrays = RsiMomentum.signals(closes([10, 12, 11, 12, 10, 9]), RSI)
    assert entries(arrays) == {3: 1, 5: -1}
    assert exits(arrays) == {4: 1}
    assert reason(arrays, 3) == "momentum rose above its upper band in an uptrend"
    assert reason(arrays, 4) == "momentum crossed the middle"
    assert arrays.stop_loss is not None
    # row 3: the true range is 12.5 - 10.5 = 2
    assert arrays.stop_loss[3] == 10.0
    assert arrays.take_profits[0][3] == 18.0


def test_rsi_does_not_enter_against_the_trend() -> None:
    # RSI of 2 crosses 70 at the last row (59.6, then 75.9), but the average of 5 is 18.09 there.
    candles = closes([30, 29, 28, 10, 12, 14, 16, 18])
    params = RSI.model_copy(update={"trend_period": 5})
    assert entries(RsiMomentum.signals(candles, params)) == {}


def test_bands_enter_when_the_close_comes_back_and_leave_in_the_middle() -> None:
    # row 4: mean 9, deviation 1.73, close 6 below 7.27; row 5: 8.5, 1.66, close 8 above 6.84;
    # row 6: mean 8.25, close 9 above it
    arrays = BollingerReversion.signals(closes([10, 10, 10, 10, 6, 8, 9]), BANDS)
    assert entries(arrays) == {5: 1}
    assert exits(arrays) == {6: 1}
    assert arrays.stop_loss is not None
    assert arrays.stop_loss[5] == 5.5  # the low of the bar before
    assert arrays.take_profits[0][5] == 15.5  # 8 + 3 x 2.5
    assert reason(arrays, 5) == "the close came back above the lower band"


def test_bands_mirror_for_shorts() -> None:
    values = mirrored([10, 10, 10, 10, 6, 8, 9], around=10)
    arrays = BollingerReversion.signals(closes(values), BANDS)
    assert entries(arrays) == {5: -1}
    assert exits(arrays) == {6: -1}
    assert arrays.stop_loss is not None
    assert arrays.stop_loss[5] == 14.5
    assert arrays.take_profits[0][5] == 4.5


def test_bands_do_not_enter_while_the_close_stays_outside() -> None:
    # Each close lies below its lower band: 7.27, 3.55, 0.77.
    arrays = BollingerReversion.signals(closes([10, 10, 10, 10, 6, 3, 0.5]), BANDS)
    assert entries(arrays) == {}


def test_channel_enters_on_the_first_bar_of_a_break_and_leaves_through_the_short_channel() -> None:
    # Highs before row 4 are 10.5; rows 5 and 6 are beyond their channels too, but not first.
    # Before row 7 the lows of two bars are 11.5 and 12.5, of three 9.5: an exit, and no short.
    arrays = DonchianBreakout.signals(closes([10, 10, 10, 10, 12, 13, 14, 11]), CHANNEL)
    assert entries(arrays) == {4: 1}
    assert exits(arrays)[7] == 1
    assert arrays.stop_loss is not None
    assert arrays.stop_loss[4] == 9.0  # true range 12.5 - 9.5 = 3 below 12
    assert arrays.take_profits[0][4] == 21.0
    assert reason(arrays, 4) == "the close broke above the entry channel"
    assert reason(arrays, 7) == "the close broke the exit channel"


def test_channel_mirrors_for_shorts() -> None:
    values = mirrored([10, 10, 10, 10, 12, 13, 14, 11], around=20)
    arrays = DonchianBreakout.signals(closes(values), CHANNEL)
    assert entries(arrays) == {4: -1}
    assert exits(arrays)[7] == -1


def test_reaching_the_channel_is_no_break() -> None:
    # The close equals the highest high before it.
    assert entries(DonchianBreakout.signals(closes([10, 10, 10, 10, 10.5]), CHANNEL)) == {}


@pytest.mark.parametrize("cls", [RsiMomentum, BollingerReversion, DonchianBreakout])
def test_a_flat_market_gives_no_entry(cls: type[ArrayStrategy]) -> None:
    candles: Candles = closes([10.1] * 500)
    assert entries(cls.signals(candles, cls.Params())) == {}


@pytest.mark.parametrize(
    ("cls", "values", "words"),
    [
        (RsiMomentum, {"rsi_period": 20, "trend_period": 20}, "trend_period=20 must be above"),
        (DonchianBreakout, {"entry_bars": 5, "exit_bars": 6}, "exit_bars=6 must not be above"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(
    cls: type[ArrayStrategy], values: dict[str, int], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        cls.Params(**values)
