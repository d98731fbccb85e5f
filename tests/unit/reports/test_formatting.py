"""Numbers as people read them."""

import pytest

from perpdesk.reports import formatting as fmt
from perpdesk.reports.markup import text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (fmt.percent(0.1234), "12.34 %"),
        (fmt.percent(-0.1234, signed=True), "-12.34 %"),
        (fmt.percent(0.1, signed=True), "+10.00 %"),
        (fmt.percent(-0.00001, signed=True), "0.00 %"),
        (fmt.percent(None), "–"),
        (fmt.amount(1234567.891), "1,234,567.89"),
        (fmt.amount(0.01234), "0.0123"),
        (fmt.amount(0.0, signed=True), "0.00"),
        (fmt.amount(None), "–"),
        (fmt.ratio(1.005, digits=1), "1.0"),
        (fmt.r_multiple(2.5), "+2.50 R"),
        (fmt.r_multiple(None), "–"),
        (fmt.count(47000), "47,000"),
        (fmt.count(None), "–"),
        (fmt.days(1.25), "1.2 days"),
        (fmt.days(730.4), "730 days"),
        (fmt.days(None), "–"),
        (fmt.hours(0.25), "15 min"),
        (fmt.hours(5.5), "5.5 h"),
        (fmt.hours(72.0), "3.0 days"),
        (fmt.hours(None), "–"),
        (fmt.moment(1_704_067_200_000), "2024-01-01 00:00"),
        (fmt.moment(None), "–"),
        (fmt.date(1_704_067_200_000), "2024-01-01"),
        (fmt.date(None), "–"),
    ],
)
def test_a_value_is_written_with_its_sign_and_unit(written: str, expected: str) -> None:
    assert written == expected


def test_on_a_page_a_minus_sign_is_set_as_one() -> None:
    assert text("-1.5 %") == "−1.5 %"
    assert text("-") == "-"
    assert text('<b a="1">&') == "&lt;b a=&quot;1&quot;&gt;&amp;"
