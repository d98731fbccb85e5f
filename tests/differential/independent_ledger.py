"""A second bookkeeper: recomputes an account from its public rows alone.

Written from the formulas of both venues in whole fractions, with nothing in common with the
package: no import of it, no Decimal arithmetic, another structure. It reads what a run publishes
(fills, funding, marks) and says what fee, profit, position, funding, cash and margins they imply.

    ledger = IndependentLedger("bybit", initial_cash="10000", contracts={"BTCUSDT": contract})
    problems = audit(ledger, in_order(read_fills(path), read_funding(other)))
    account = ledger.account(marks={"BTCUSDT": "61000.5"}, leverage={"BTCUSDT": "10"})

Conventions, all on the grid of 1e-8 quote: Binance cuts amounts towards zero, Bybit rounds halves
away from zero.

- What is open has an entry value: quantity x price of each opening trade on the grid. Closing a
  part takes its share of it, rounded to the nearest atom on both venues; the profit is the exit
  value less that share, put on the grid once.
- Crossing zero closes what is open, then opens anew. The fee is of the whole trade, unrounded
  value x rate, then on the grid.
- Funding is quantity x mark x rate on the grid; longs pay when the rate is positive.
- Position value, unrealized profit, initial and maintenance margin are each put on the grid.
  Maintenance is summed tier by tier. Bybit adds the fee to close at bankruptcy price, at the taker
  rate of the last trade, to both margins.
- A liquidation (reason LIQUIDATION) pays the clearance fee on Binance: at most value x rate of the
  contract, less where the margin is used up, so only its bounds are checked. On Bybit it pays the
  taker fee.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

Number = str | int | Fraction
ATOM = Fraction(1, 10**8)
LIQUIDATION = "LIQUIDATION"


@dataclass(frozen=True)
class Tier:
    """A slice of position value: up to `cap` quote, `rate` of it is kept as maintenance margin."""

    cap: Fraction
    rate: Fraction
    max_leverage: Fraction


@dataclass(frozen=True)
class Contract:
    """What an account must know of a symbol. fees: (valid from ms, maker, taker), ascending."""

    tiers: Sequence[Tier]
    fees: Sequence[tuple[int, Fraction, Fraction]]
    clearance_rate: Fraction

    def rates(self, ts_ms: int) -> tuple[Fraction, Fraction]:
        """Return maker and taker rate at a time; before the first period, the first holds."""
        past = [period for period in self.fees if period[0] <= ts_ms]
        _, maker, taker = past[-1] if past else self.fees[0]
        return maker, taker


@dataclass(frozen=True)
class FillRow:
    """A row of fills.csv, as far as it counts. reason: the purpose of the order."""

    ts_ms: int
    symbol: str
    side: str
    quantity: Fraction
    price: Fraction
    liquidity: str
    fee: Fraction
    realized_pnl: Fraction
    position_after: Fraction
    reason: str

    @classmethod
    def of(cls, row: Mapping[str, object]) -> Self:
        """Read a row whose numbers are text, Decimal or int; other columns are ignored."""
        return cls(
            ts_ms=int(str(row["ts_ms"])),
            symbol=str(row["symbol"]),
            side=str(row["side"]),
            quantity=Fraction(str(row["quantity"])),
            price=Fraction(str(row["price"])),
            liquidity=str(row["liquidity"]),
            fee=Fraction(str(row["fee"])),
            realized_pnl=Fraction(str(row["realized_pnl"])),
            position_after=Fraction(str(row["position_after"])),
            reason=str(row["reason"]),
        )


@dataclass(frozen=True)
class FundingRow:
    """A row of funding.csv. amount: the change of cash."""

    ts_ms: int
    symbol: str
    signed_quantity: Fraction
    mark_price: Fraction
    rate: Fraction
    amount: Fraction

    @classmethod
    def of(cls, row: Mapping[str, object]) -> Self:
        """Read a row whose numbers are text, Decimal or int."""
        numbers = ("signed_quantity", "mark_price", "rate", "amount")
        return cls(
            ts_ms=int(str(row["ts_ms"])),
            symbol=str(row["symbol"]),
            **{name: Fraction(str(row[name])) for name in numbers},
        )


@dataclass
class Holding:
    """What is open of one symbol; value has the sign of quantity."""

    quantity: Fraction = Fraction(0)
    value: Fraction = Fraction(0)
    taker: Fraction = Fraction(0)

    @property
    def average_entry(self) -> Fraction | None:
        """Return the value-weighted entry price."""
        return self.value / self.quantity if self.quantity else None


@dataclass(frozen=True)
class Account:
    """The account at given marks, in quote."""

    cash: Fraction
    unrealized: Fraction
    used_margin: Fraction
    maintenance_margin: Fraction

    @property
    def equity(self) -> Fraction:
        """Return cash and open profit."""
        return self.cash + self.unrealized

    @property
    def free_margin(self) -> Fraction:
        """Return equity less used margin."""
        return self.equity - self.used_margin

    @property
    def available(self) -> Fraction:
        """Return free margin, zero when it is negative."""
        return max(Fraction(0), self.free_margin)


class IndependentLedger:
    """Books rows one after the other; cash and holdings are what they imply."""

    def __init__(
        self, venue: str, *, initial_cash: Number, contracts: Mapping[str, Contract]
    ) -> None:
        self.bybit = venue == "bybit"
        self.contracts = contracts
        self.cash = Fraction(initial_cash)
        self.holdings = {symbol: Holding() for symbol in contracts}

    def grid(self, amount: Fraction) -> Fraction:
        """Put an amount on the grid as the venue does."""
        if self.bybit:
            return nearest(amount)
        return (abs(amount) / ATOM // 1) * ATOM * (-1 if amount < 0 else 1)

    def book(self, row: FillRow | FundingRow) -> list[str]:
        """Book one row and return what it says otherwise than the formulas."""
        return self._book_fill(row) if isinstance(row, FillRow) else self._book_funding(row)

    def _book_fill(self, row: FillRow) -> list[str]:
        contract, holding = self.contracts[row.symbol], self.holdings[row.symbol]
        change = row.quantity if row.side == "BUY" else -row.quantity
        profit = self._move(holding, change, row.price)
        maker, taker = contract.rates(row.ts_ms)
        holding.taker = taker
        value = row.quantity * row.price
        problems = []
        if row.reason == LIQUIDATION and not self.bybit:
            fee = row.fee
            if not 0 <= fee <= self.grid(value * contract.clearance_rate):
                problems.append(f"{row}: the clearance fee {fee} is out of bounds")
        else:
            fee = self.grid(value * (maker if row.liquidity == "MAKER" else taker))
        self.cash += profit - fee
        for name, found, expected in (
            ("fee", row.fee, fee),
            ("realized_pnl", row.realized_pnl, profit),
            ("position_after", row.position_after, holding.quantity),
        ):
            problems += difference(name, found, expected, row)
        return problems

    def _move(self, holding: Holding, change: Fraction, price: Fraction) -> Fraction:
        """Change a holding at a price and return the profit realized."""
        closing = Fraction(0)
        if holding.quantity * change < 0:
            closing = min(abs(holding.quantity), abs(change)) * (1 if change > 0 else -1)
        profit = Fraction(0)
        if closing:
            share = nearest(holding.value * -closing / holding.quantity)
            profit = self.grid(-closing * price - share)
            holding.value -= share
            holding.quantity += closing
        opening = change - closing
        holding.value += self.grid(opening * price)
        holding.quantity += opening
        return profit

    def _book_funding(self, row: FundingRow) -> list[str]:
        held = self.holdings[row.symbol].quantity
        amount = -self.grid(held * row.mark_price * row.rate)
        self.cash += amount
        return difference("signed_quantity", row.signed_quantity, held, row) + difference(
            "amount", row.amount, amount, row
        )

    def account(self, *, marks: Mapping[str, Number], leverage: Mapping[str, Number]) -> Account:
        """Return the account at these marks; symbols without a holding need none."""
        profit = used = maintenance = Fraction(0)
        for symbol, holding in self.holdings.items():
            if not holding.quantity:
                continue
            mark, times = Fraction(marks[symbol]), Fraction(leverage[symbol])
            value = self.grid(abs(holding.quantity) * mark)
            reserve = self._fee_to_close(holding, times)
            profit += self.grid(holding.quantity * mark - holding.value)
            tiers = self.contracts[symbol].tiers
            allowed = next((tier for tier in tiers if value <= tier.cap), tiers[-1]).max_leverage
            used += self.grid(value / min(times, allowed) + reserve)
            maintenance += self.grid(_progressive(tiers, value) + reserve)
        return Account(self.cash, profit, used, maintenance)

    def _fee_to_close(self, holding: Holding, leverage: Fraction) -> Fraction:
        """Return the taker fee at the price where the initial margin is used up (Bybit)."""
        if not self.bybit:
            return Fraction(0)
        side = 1 if holding.quantity > 0 else -1
        return self.grid(abs(holding.value) * (1 - side / leverage) * holding.taker)


def nearest(amount: Fraction) -> Fraction:
    """Round to the nearest atom, halves away from zero."""
    whole = (abs(amount) / ATOM + Fraction(1, 2)) // 1
    return whole * ATOM * (-1 if amount < 0 else 1)


def _progressive(tiers: Sequence[Tier], value: Fraction) -> Fraction:
    """Return the maintenance margin as the sum over the slices of value that each tier holds."""
    total, floor = Fraction(0), Fraction(0)
    for tier in tiers[:-1]:
        total += max(Fraction(0), min(value, tier.cap) - floor) * tier.rate
        floor = tier.cap
    return total + max(Fraction(0), value - floor) * tiers[-1].rate


def difference(name: str, found: Fraction, expected: Fraction, where: object) -> list[str]:
    """Return one line if two numbers differ at all."""
    if found == expected:
        return []
    return [f"{name}: found {float(found)!r}, the formulas say {float(expected)!r}, in {where}"]


def in_order(fills: Iterable[FillRow], funding: Iterable[FundingRow]) -> list[FillRow | FundingRow]:
    """Merge rows by time; at one time fills come first, then funding, then liquidations."""

    def place(row: FillRow | FundingRow) -> tuple[int, int]:
        if isinstance(row, FundingRow):
            return row.ts_ms, 1
        return row.ts_ms, 2 if row.reason == LIQUIDATION else 0

    return sorted([*fills, *funding], key=place)


def audit(ledger: IndependentLedger, rows: Iterable[FillRow | FundingRow]) -> list[str]:
    """Book every row and return all differences; none means agreement to the last digit."""
    return [problem for row in rows for problem in ledger.book(row)]


def read_fills(path: Path) -> list[FillRow]:
    """Read fills.csv."""
    with path.open(newline="") as file:
        return [FillRow.of(row) for row in csv.DictReader(file)]


def read_funding(path: Path) -> list[FundingRow]:
    """Read funding.csv."""
    with path.open(newline="") as file:
        return [FundingRow.of(row) for row in csv.DictReader(file)]
