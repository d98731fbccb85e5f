"""A new strategy file to begin from: documented, complete, and keeping the contract."""

import keyword
import os
import re
import tempfile
from pathlib import Path
from string import Template
from typing import Final

from perpdesk.domain.errors import UsageRefused

_TEMPLATE: Final = Template('''"""$title: say here in one line what the idea is."""

import numpy as np
from pydantic import Field

from perpdesk.domain.candles import Candles
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, StrategyParams
from perpdesk.strategies.indicators import atr, crossings, sma, wilder_memory


class $class_name(ArrayStrategy):
    """Enter where the close crosses its mean; say here what your strategy does.

    The first line is what `perpdesk strategies list` shows.
    """

    name = "$name"
    version = "1"  # raise it when the rules change: a run stores name@version
    timeframes = ()  # such as ("1h", "4h") if the idea is meant for some only

    class Params(StrategyParams):
        """Each parameter has a default, a range, and a description: the form and the search."""

        length: int = Field(
            50,
            ge=2,
            le=1000,
            description="Period of the mean, in candles.",
            json_schema_extra={"search": {"low": 20, "high": 200, "step": 10}},
        )
        stop_atr: float = Field(
            2.0,
            gt=0.0,
            le=20.0,
            description="Distance of the stop in average true ranges of 14 candles.",
            json_schema_extra={"search": {"low": 1.0, "high": 5.0, "step": 0.5}},
        )
        reward_risk: float = Field(
            3.0,
            ge=0.1,
            le=20.0,
            description="Distance of the target as a multiple of the distance of the stop.",
        )

    @classmethod
    def warmup_candles(cls, params: Params) -> int:
        """Return how many candles must have closed before a signal can mean anything."""
        return max(params.length + 1, 15)

    @classmethod
    def memory_candles(cls, params: Params) -> int:
        """Return how many candles fix a signal: windows exactly, the ATR once it has settled."""
        return max(2 * params.length, wilder_memory(14))

    @classmethod
    def signals(cls, candles: Candles, params: Params) -> SignalArrays:
        """Return what is wanted at every candle. Row i may use rows up to i, never later ones."""
        close = candles.close
        side = crossings(close, sma(close, params.length))  # +1 upwards, -1 downwards, else 0
        distance = params.stop_atr * atr(candles, 14)
        stop = close - side * distance
        target = close + side * params.reward_risk * distance
        # No entry while the range is unknown or zero, or where a price would fall below zero.
        usable = (distance > 0.0) & (stop > 0.0) & (target > 0.0)
        return SignalArrays(
            side=np.where(usable, side, 0).astype(np.int8),
            stop_loss=stop,
            take_profits=(target,),
            reason_code=side.astype(np.int16) + np.int16(1),
            reasons=("the close crossed below its mean", "", "the close crossed above its mean"),
        )
''')

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


def new_strategy_source(name: str) -> str:
    """Return the source of a new strategy; refuse a name that cannot be one."""
    class_name = "".join(part.capitalize() for part in name.split("_"))
    if not _NAME.fullmatch(name) or keyword.iskeyword(class_name) or not class_name.isidentifier():
        raise UsageRefused(
            f"{name!r} cannot name a strategy",
            next_step="Use up to 40 of a-z, 0-9 and _, beginning with a letter: my_idea.",
        )
    return _TEMPLATE.substitute(
        name=name, class_name=class_name, title=name.replace("_", " ").capitalize()
    )


def write_new_strategy(name: str, folder: Path) -> Path:
    """Write `folder`/`name`.py whole or not at all, and never over a file that is there."""
    source = new_strategy_source(name)
    path = folder / f"{name}.py"
    taken = UsageRefused(
        f"{path} is there already", next_step="Choose another name, or move that file away."
    )
    if path.exists():
        raise taken
    folder.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix="_new_", suffix=".py", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(source)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp keeps the file from others; a strategy is as readable as any new file.
        Path(draft).chmod(0o644)
        # A link fails where the name is taken; a rename would replace what is there.
        os.link(draft, path)
    except FileExistsError:
        raise taken from None
    finally:
        Path(draft).unlink(missing_ok=True)
    return path
