"""Small charts as inline SVG: histograms and the MAE/MFE scatter. Colors come from the page."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from perpdesk.reports import formatting as fmt
from perpdesk.reports.markup import attribute, text

Floats = npt.NDArray[np.float64]

_WIDTH: Final = 400
_HEIGHT: Final = 240
_LEFT: Final = 40
_RIGHT: Final = 12
_TOP: Final = 26
_BOTTOM: Final = 38


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear scale from values to pixels, with ticks at round numbers."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, wanted: int = 6) -> list[float]:
        """Return about `wanted` round values inside the scale."""
        step = nice_step((self.high - self.low) / wanted)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(tick * step, 10) for tick in range(first, last + 1)]


def nice_step(rough: float) -> float:
    """Return the round number (1, 2 or 5 times a power of ten) next above `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)


def histogram(values: Floats, *, write: Callable[[float], str], label: str, unit: str) -> str:
    """Draw how often values fall where; zero is always an edge, outliers stand in the end bars.

    write: value to text for the read-outs. unit: caption of the axis.
    """
    if not len(values):
        return ""
    low, high = np.quantile(values, [0.01, 0.99]).tolist()
    step = nice_step(max(high - low, 1e-9) / 28)
    first, last = math.floor(low / step), math.ceil(high / step)
    if last <= first:
        last = first + 1
    edges = np.arange(first, last + 1) * step
    # A hair above the edge: a loss of exactly one unit belongs to the bar that starts there.
    bins = np.clip(np.floor(values / step + 1e-9).astype(np.int64) - first, 0, last - first - 1)
    counts = np.bincount(bins, minlength=last - first)
    x = Axis(float(edges[0]), float(edges[-1]), _LEFT, _WIDTH - _RIGHT)
    y = Axis(0.0, float(counts.max()), _HEIGHT - _BOTTOM, _TOP)
    bars = []
    for row, count in enumerate(counts.tolist()):
        if not count:
            continue
        lower, upper = float(edges[row]), float(edges[row + 1])
        span = f"{write(lower)} … {write(upper)}"
        if row == 0 and float(values.min()) < lower:
            span = f"below {write(upper)}"
        elif row == len(counts) - 1 and float(values.max()) > upper:
            span = f"above {write(lower)}"
        tip = f"{span}: {fmt.count(count)} ({fmt.percent(count / len(values), digits=1)})"
        kind = "up" if lower >= -1e-12 else "down"
        height = max(y.at(0) - y.at(count), 1.0)
        bars.append(
            f'<rect class="{kind}" x="{x.at(lower) + 0.75:.1f}" y="{y.at(0) - height:.1f}" '
            f'width="{max(x.at(upper) - x.at(lower) - 1.5, 1):.1f}" height="{height:.1f}" rx="1.5" '
            f"data-tip={attribute(tip)}/>"
        )
    mean = float(np.mean(values))
    at_mean = min(max(x.at(mean), _LEFT), _WIDTH - _RIGHT)
    anchor = "start" if at_mean < _WIDTH * 0.7 else "end"
    shift = 5 if anchor == "start" else -5
    mark = (
        f'<path class="mark" d="M{at_mean:.1f} {_TOP - 18}V{y.at(0):.1f}"/>'
        f'<text class="mark" x="{at_mean + shift:.1f}" y="{_TOP - 9}" text-anchor="{anchor}">'
        f"mean {write(mean)}</text>"
    )
    return _figure(label, _grid(x, y, unit, write_x=_plain, write_y=_plain) + "".join(bars) + mark)


def scatter(
    xs: Sequence[float], ys: Sequence[float], won: Sequence[bool], *, label: str, unit: str
) -> str:
    """Draw adverse (across) against favorable (up) excursion, winners and losers apart.

    Values beyond the 99th percentile stand at the edge.
    """
    if not xs:
        return ""
    across, up = np.array(xs), np.array(ys)
    x = Axis(0.0, _reach(across), _LEFT, _WIDTH - _RIGHT)
    y = Axis(0.0, _reach(up), _HEIGHT - _BOTTOM, _TOP)
    px = x.at(0) + np.minimum(across / x.high, 1.0) * (x.end - x.start)
    py = y.at(0) + np.minimum(up / y.high, 1.0) * (y.end - y.start)
    dots = ["", ""]
    for i, j, is_win in zip(px.tolist(), py.tolist(), won, strict=True):
        dots[is_win] += f"M{i:.1f} {j:.1f}h0"
    grid = _grid(
        x, y, f"adverse excursion, {text(unit)}", write_x=_plain, write_y=_plain,
        caption_y=f"favorable, {text(unit)}",
    )  # fmt: skip
    marks = f'<path class="dots down" d="{dots[0]}"/><path class="dots up" d="{dots[1]}"/>'
    frame = f"{x.high} {y.high} {_LEFT} {_RIGHT} {_TOP} {_BOTTOM}"
    scale = f" data-unit={attribute(unit)} data-scale={attribute(frame)}"
    return _figure(label, grid + marks + '<circle class="focus" r="6"/>', extra=scale)


def _reach(values: Floats) -> float:
    high = float(np.quantile(values, 0.99))
    return 1.03 * (high if high > 0 else max(float(values.max()), 1e-9))


def _plain(value: float) -> str:
    written = f"{value / 1000:,.4g}k" if abs(value) >= 10_000 else f"{value:,.5g}"
    return written.replace("-", "−")


def _grid(
    x: Axis,
    y: Axis,
    unit: str,
    *,
    write_x: Callable[[float], str],
    write_y: Callable[[float], str],
    caption_y: str = "trades",
) -> str:
    base = y.at(0)
    lines = "".join(
        f'<path class="grid" d="M{_LEFT} {y.at(tick):.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 7}" y="{y.at(tick) + 3.5:.1f}" text-anchor="end">{write_y(tick)}</text>'
        for tick in y.ticks(4)
    )
    ticks = "".join(
        f'<text x="{x.at(tick):.1f}" y="{base + 15:.1f}" text-anchor="middle">'
        f"{write_x(tick)}</text>"
        for tick in x.ticks(6)
    )
    zero = ""
    if x.low < 0 < x.high:
        zero = f'<path class="zero" d="M{x.at(0):.1f} {_TOP}V{base}"/>'
    captions = (
        f'<text class="caption" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 5}" text-anchor="end">{unit}'
        f'</text><text class="caption" x="{_LEFT}" y="{_HEIGHT - 5}">{caption_y} ↑</text>'
    )
    return lines + ticks + zero + captions


def _figure(label: str, inside: str, *, extra: str = "") -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f"aria-label={attribute(label)}{extra}>{inside}</svg>"
    )
