"""Histograms and scatters: every value is drawn once, and where it belongs."""

import re

import numpy as np
import pytest

from perpdesk.reports.tearsheet_svg import Axis, histogram, nice_step, scatter


def draw(values: list[float]) -> str:
    return histogram(np.array(values), write=lambda v: f"{v:g}", label="l", unit="u")


@pytest.mark.parametrize(
    ("rough", "step"), [(0.7, 1), (1.0, 1), (1.1, 2), (2.2, 2.5), (3, 5), (70, 100), (0.03, 0.05)]
)
def test_steps_are_round_numbers(rough: float, step: float) -> None:
    assert nice_step(rough) == pytest.approx(step)


def test_ticks_are_round_and_inside() -> None:
    assert Axis(-1.2, 3.1, 0.0, 100.0).ticks(4) == [0.0, 2.0]
    assert Axis(0.0, 10.0, 100.0, 0.0).at(2.5) == 75.0


def test_every_value_is_counted_once() -> None:
    values = np.random.default_rng(1).standard_t(2, 999).tolist()
    counts = re.findall(r": (\d+) \(", draw(values))
    assert sum(int(count) for count in counts) == 999


def test_outliers_stand_in_the_end_bars() -> None:
    drawn = draw([*np.linspace(-1, 1, 500), -50.0, 70.0])
    assert "below" in drawn
    assert "above" in drawn


def test_losses_and_gains_never_share_a_bar() -> None:
    drawn = draw([-0.01, 0.01, -3.0, 4.0])
    assert 'class="down"' in drawn
    assert 'class="up"' in drawn


def test_equal_values_make_one_bar_and_no_error() -> None:
    assert draw([5.0] * 10).count("<rect") == 1
    assert draw([0.0]).count("<rect") == 1


def test_nothing_to_draw_is_nothing() -> None:
    assert draw([]) == ""
    assert scatter([], [], [], label="l", unit="u") == ""


def test_a_scatter_draws_every_dot_in_the_color_of_its_result() -> None:
    drawn = scatter([0.0, 1.0, 0.5], [0.0, 2.0, 1.0], [True, False, True], label="l", unit="<u>")
    down, up = re.findall(r'class="dots \w+" d="([^"]*)"', drawn)
    assert (down.count("h0"), up.count("h0")) == (1, 2)
    assert "<u>" not in drawn


def test_a_scatter_without_any_excursion_has_a_scale() -> None:
    assert "NaN" not in scatter([0.0], [0.0], [False], label="l", unit="u").upper().replace(
        "NAN", "NaN"
    )
