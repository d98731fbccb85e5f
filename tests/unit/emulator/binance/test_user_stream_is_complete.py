"""Whoever folds the user stream knows the account as well as REST does."""

import random
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback, door_open

from perpdesk.domain.candles import Venue
from perpdesk.emulator.binance.order_rows import ALGO_IDS
from perpdesk.emulator.faults import Fault, FaultKind

D = Decimal


async def trade_at_random(door: Loopback, chance: random.Random) -> None:
    """One request of a careless bot; refusals are part of the game."""
    side = chance.choice(("BUY", "SELL"))
    price = str(door.price + chance.randint(-60, 60))
    order = {"symbol": SYMBOL, "side": side, "quantity": chance.choice(("0.010", "0.050", "0.300"))}
    path, more = chance.choice(
        [
            ("/fapi/v1/order", {"type": "MARKET"}),
            ("/fapi/v1/order", {"type": "LIMIT", "timeInForce": "GTC", "price": price}),
            ("/fapi/v1/order", {"type": "LIMIT", "timeInForce": "IOC", "price": price}),
            ("/fapi/v1/algoOrder", {"type": "STOP_MARKET", "triggerPrice": price}),
            ("/fapi/v1/algoOrder", {"type": "STOP", "triggerPrice": price, "price": price}),
            ("/fapi/v1/algoOrder", {"type": "TRAILING_STOP_MARKET", "callbackRate": "0.2"}),
        ]
    )
    if path.endswith("algoOrder"):
        more = {**more, "algoType": "CONDITIONAL", "reduceOnly": chance.choice(("true", "false"))}
    await door.ask("POST", path, **order, **more)
    if chance.random() < 0.1:
        await door.ask("DELETE", "/fapi/v1/allOpenOrders", symbol=SYMBOL)
        await door.ask("DELETE", "/fapi/v1/algoOpenOrders", symbol=SYMBOL)


class Folded:
    """What a client knows that has heard everything and asked for nothing."""

    def __init__(self) -> None:
        self.cash = self.wallet = D(10_000)
        self.position = self.told_position = D(0)
        self.orders: dict[int, dict[str, Any]] = {}
        self.algos: dict[int, str] = {}
        self.trades: set[int] = set()

    def hear(self, message: dict[str, Any]) -> None:
        match message["e"]:
            case "ORDER_TRADE_UPDATE":
                self._order(message["o"])
            case "ACCOUNT_UPDATE":
                self.wallet = D(message["a"]["B"][0]["wb"])
                for row in message["a"]["P"]:
                    self.told_position = D(row["pa"])
                if message["a"]["m"] == "FUNDING_FEE":
                    self.cash += D(message["a"]["B"][0]["bc"])
            case "ALGO_UPDATE":
                self.algos[message["o"]["aid"]] = message["o"]["X"]

    def _order(self, row: dict[str, Any]) -> None:
        before = self.orders.get(row["i"])
        assert (before is None) == (row["x"] == "NEW"), "an order begins with NEW, and once"
        filled = D(0) if before is None else D(before["z"])
        if row["x"] in ("TRADE", "CALCULATED"):
            assert row["t"] not in self.trades
            self.trades.add(row["t"])
            assert D(row["z"]) == filled + D(row["l"])
            self.cash += D(row["rp"]) - D(row["n"])
            self.position += D(row["l"]) * (1 if row["S"] == "BUY" else -1)
        else:
            assert D(row["z"]) == filled
        self.orders[row["i"]] = row


@pytest.mark.parametrize("seed", range(3))
async def test_the_stream_folds_to_what_rest_tells(seed: int) -> None:
    chance, known = random.Random(seed), Folded()
    async with door_open(step_ms=5_000) as door:
        if seed == 2:
            thin = Fault(kind=FaultKind.PARTIAL_FILLS, venue=Venue.BINANCE, value=0.3)
            door.world.faults.arm(thin)
        key = await door.listen_key()
        async with door.socket(f"/private/ws?listenKey={key}") as heard:
            for _ in range(250):
                await trade_at_random(door, chance)
                door.world.advance(chance.choice((0, 5_000, 60_000, 180_000)))
                await door.listen_key()
                for message in await heard.all():
                    known.hear(message)
        fills = list(door.account.fills)
        balance = (await door.ok("GET", "/fapi/v3/balance"))[0]
        assert known.cash == known.wallet == D(balance["balance"])
        assert known.trades == {fill.trade_id for fill in fills}
        state = door.account.exchange.symbols[SYMBOL]
        assert known.position == known.told_position == state.signed_quantity
        for row in await door.ok("GET", "/fapi/v1/allOrders", symbol=SYMBOL, limit=1000):
            heard_row = known.orders[row["orderId"]]
            assert (heard_row["X"], D(heard_row["z"])) == (row["status"], D(row["executedQty"]))
            assert heard_row["c"] == row["clientOrderId"]
        algos = await door.ok("GET", "/fapi/v1/allAlgoOrders", symbol=SYMBOL, limit=1000)
        assert {row["algoId"]: row["algoStatus"] for row in algos} == known.algos
        assert all(algo_id > ALGO_IDS for algo_id in known.algos)
        assert len(fills) > 50
