"""The control API: what a test or a curious trader may do to the world from outside.

    GET    /emulator                state: time, speed, venues, symbols, accounts, faults, strikes
    POST   /emulator/speed          {"speed": 60}; 0 stands still
    POST   /emulator/advance        {"ms": 60000}: move time by hand
    GET    /emulator/faults         armed faults and strikes
    POST   /emulator/faults         {"kind": "drop-after", "venue": "binance", "path": "*/order",
                                     "left": 1, "probability": 1, "value": 0, "seconds": 60}
    DELETE /emulator/faults[?kind=] disarm
    GET    /emulator/journal[?after=SEQ&what=&limit=]   everything that was accepted
    POST   /emulator/accounts       {"venue", "account", "key", "secret", "capital", "can_trade",
                                     "can_withdraw", "can_transfer", "allowed_ips", "expires_ms"}
    POST   /emulator/deposit        {"venue", "account", "amount"}
    POST   /emulator/orders         {"venue", "account", "symbol", "side", "quantity",
                                     "price"?, "reduce_only"?}: an order by someone else's hand
    POST   /emulator/cancel         {"venue", "account", "client_id"}: canceled by hand
    POST   /emulator/liquidate      {"venue", "account", "symbol"}: mark jumps through the position
    POST   /emulator/symbols        {"venue", "symbol", "status"?: "trading" | "closed",
                                     "tick_size"?, "step_size"?, "min_quantity"?, "min_notional"?,
                                     "max_limit_quantity"?, "max_market_quantity"?}: a delisting, or
                                     other filters

Answers are JSON; a wrong request is answered 400 with `error`, saying what was expected.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson
from aiohttp import web

from perpdesk.domain.candles import Venue
from perpdesk.domain.order import ClientOrderId, OrderPurpose, OrderRequest, OrderType, Side
from perpdesk.emulator.accounts import Account, ApiKey, Refused
from perpdesk.emulator.faults import Fault, FaultKind
from perpdesk.emulator.listing import FILTERS, change_filters, set_trading
from perpdesk.emulator.world import World

_OF_A_SYMBOL: Final = ("venue", "symbol", "status")


class Control:
    """Handlers over the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._orders = 0

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes listed above."""
        router.add_get("/emulator", self._answering(self._state))
        router.add_post("/emulator/speed", self._answering(self._speed))
        router.add_post("/emulator/advance", self._answering(self._advance))
        router.add_get("/emulator/faults", self._answering(self._faults))
        router.add_post("/emulator/faults", self._answering(self._arm))
        router.add_delete("/emulator/faults", self._answering(self._disarm))
        router.add_get("/emulator/journal", self._answering(self._journal))
        router.add_post("/emulator/accounts", self._answering(self._open_account))
        router.add_post("/emulator/deposit", self._answering(self._deposit))
        router.add_post("/emulator/orders", self._answering(self._order))
        router.add_post("/emulator/cancel", self._answering(self._cancel))
        router.add_post("/emulator/liquidate", self._answering(self._liquidate))
        router.add_post("/emulator/symbols", self._answering(self._symbol))

    @staticmethod
    def _answering(act: Any) -> Any:
        async def handler(request: web.Request) -> web.Response:
            try:
                body = orjson.loads(await request.read() or b"{}")
                answer = act(body if request.method == "POST" else dict(request.query))
            except KeyError as error:
                return _json({"error": f"{error} is missing or unknown"}, 400)
            except (ValueError, TypeError, InvalidOperation) as error:
                return _json({"error": str(error)}, 400)
            except Refused as refused:
                return _json({"error": refused.reason, "code": refused.code}, 409)
            return _json(answer)

        return handler

    # Reading.

    def _state(self, _: Mapping[str, Any]) -> dict[str, Any]:
        world = self.world
        return {
            "now_ms": world.now_ms,
            "end_ms": world.end_ms,
            "speed": world.clock.speed,
            "venues": {
                venue.value: {
                    "symbols": sorted(one.markets),
                    "accounts": sorted(one.accounts.by_id),
                }
                for venue, one in world.venues.items()
            },
            **self._faults({}),
        }

    def _faults(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "faults": [
                {
                    "kind": each.kind.value,
                    "venue": None if each.venue is None else each.venue.value,
                    "path": each.path,
                    "probability": each.probability,
                    "left": each.left,
                    "value": each.value,
                    "until_ms": each.until_ms,
                }
                for each in self.world.faults.armed
            ],
            "struck": {kind.value: count for kind, count in self.world.faults.struck.items()},
        }

    def _journal(self, query: Mapping[str, Any]) -> dict[str, Any]:
        after, limit = int(query.get("after", 0)), int(query.get("limit", 10_000))
        what = query.get("what")
        found = [
            {
                "seq": entry.seq,
                "ts_ms": entry.ts_ms,
                "venue": entry.venue,
                "account": entry.account,
                "what": entry.what,
                **entry.facts,
            }
            for entry in self.world.journal
            if entry.seq > after and (what is None or entry.what == what)
        ]
        return {"entries": found[:limit]}

    # Doing.

    def _speed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.world.clock.set_speed(float(body["speed"]))
        return {"speed": self.world.clock.speed, "now_ms": self.world.now_ms}

    def _advance(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.world.advance(int(body["ms"]))
        return {"now_ms": self.world.now_ms}

    def _arm(self, body: Mapping[str, Any]) -> dict[str, Any]:
        seconds = body.get("seconds")
        self.world.faults.arm(
            Fault(
                kind=FaultKind(body["kind"]),
                venue=Venue(body["venue"]) if body.get("venue") else None,
                path=body.get("path", "*"),
                probability=float(body.get("probability", 1)),
                left=None if body.get("left") is None else int(body["left"]),
                value=float(body.get("value", 0)),
                until_ms=None if seconds is None else self.world.now_ms + int(seconds * 1000),
            )
        )
        return self._faults({})

    def _disarm(self, query: Mapping[str, Any]) -> dict[str, Any]:
        self.world.faults.clear(FaultKind(query["kind"]) if "kind" in query else None)
        return self._faults({})

    def _open_account(self, body: Mapping[str, Any]) -> dict[str, Any]:
        key = ApiKey(
            key=body["key"],
            secret=body["secret"],
            can_trade=bool(body.get("can_trade", True)),
            can_withdraw=bool(body.get("can_withdraw", False)),
            can_transfer=bool(body.get("can_transfer", False)),
            allowed_ips=frozenset(body.get("allowed_ips", ())),
            expires_ms=body.get("expires_ms"),
        )
        venue, name = Venue(body["venue"]), str(body["account"])
        accounts = self.world.venues[venue].accounts
        if name in accounts.by_id:
            accounts.add(accounts.by_id[name], key)
        else:
            capital = Decimal(str(body.get("capital", "10000")))
            self.world.open_account(venue, name, capital, key)
        return {"venue": venue.value, "account": name, "key": key.key}

    def _account(self, body: Mapping[str, Any]) -> Account:
        return self.world.venues[Venue(body["venue"])].accounts.by_id[body.get("account", "demo")]

    def _deposit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        account = self._account(body)
        account.deposit(Decimal(str(body["amount"])), now_ms=self.world.now_ms)
        return {"cash": str(account.exchange.ledger.cash)}

    def _order(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self._orders += 1
        price = body.get("price")
        record = self._account(body).place(
            OrderRequest(
                client_order_id=ClientOrderId(f"web_{self._orders:06d}"),
                symbol=body["symbol"],
                side=Side(body["side"]),
                type=OrderType.MARKET if price is None else OrderType.LIMIT,
                quantity=Decimal(str(body["quantity"])),
                price=None if price is None else Decimal(str(price)),
                reduce_only=bool(body.get("reduce_only", False)),
                purpose=OrderPurpose.ENTRY,
            ),
            now_ms=self.world.now_ms,
        )
        return {"client_id": record.client_id, "status": record.status.value}

    def _cancel(self, body: Mapping[str, Any]) -> dict[str, Any]:
        account = self._account(body)
        for record in account.open_orders():
            if record.client_id == body["client_id"]:
                account.cancel(record, now_ms=self.world.now_ms)
                return {"client_id": record.client_id, "status": record.status.value}
        raise KeyError(body["client_id"])

    def _liquidate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        account, symbol = self._account(body), body["symbol"]
        account.force_liquidation(symbol, now_ms=self.world.now_ms)
        return {"quantity": str(account.exchange.position(symbol).signed_quantity)}

    def _symbol(self, body: Mapping[str, Any]) -> dict[str, Any]:
        venue, symbol, status = Venue(body["venue"]), body["symbol"], body.get("status")
        market = self.world.venues[venue].markets[symbol]
        if status not in (None, "trading", "closed"):
            raise ValueError(f"status is trading or closed, not {status!r}")
        named = {name: value for name, value in body.items() if name not in _OF_A_SYMBOL}
        if named:
            filters = {name: Decimal(str(value)) for name, value in named.items()}
            change_filters(self.world, venue, symbol, filters)
        if status is not None:
            set_trading(self.world, venue, symbol, is_open=status == "trading")
        rules = market.instrument
        shown = {name: str(getattr(rules, name)) for name in FILTERS}
        return {"symbol": symbol, "status": "trading" if market.is_open else "closed", **shown}


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
