"""The control API: what a test or a curious trader may do to the world from outside.

    GET    /emulator                state: time, speed, venues, symbols, accounts, faults, strikes
    POST   /emulator/speed          {"speed": 60}; 0 stands still
    POST   /emulator/advance        {"ms": 60000}: move time by hand; answers when it is done
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

Bodies are JSON, with the fields of control_requests.py and no others. Answers are JSON; a wrong
request is answered 400 with `error`, which says what was wrong and what was expected.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import ValidationError

from perpdesk.domain.candles import HOUR_MS, Venue
from perpdesk.domain.order import ClientOrderId, OrderPurpose, OrderRequest, OrderType
from perpdesk.emulator.accounts import Account, ApiKey, Refused
from perpdesk.emulator.control_requests import (
    Advance,
    ArmedFault,
    Asked,
    Deposit,
    Disarm,
    ForeignCancel,
    ForeignOrder,
    JournalQuestion,
    Liquidation,
    NewAccount,
    Nothing,
    OfAccount,
    SpeedChange,
    SymbolChange,
)
from perpdesk.emulator.faults import Fault
from perpdesk.emulator.listing import FILTERS, change_filters, set_trading
from perpdesk.emulator.world import VenueWorld, World

_Body = TypeVar("_Body", bound=Asked)
_SLICE_MS: Final = HOUR_MS // 4
"""Time that is moved by hand passes in slices, so that others are heard meanwhile."""


class Unknown(Exception):
    """A name that is not there; says which ones are."""


class Control:
    """Handlers over the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._orders = 0

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes listed above."""
        router.add_get("/emulator", self._answering(Nothing, self._state))
        router.add_post("/emulator/speed", self._answering(SpeedChange, self._speed))
        router.add_post("/emulator/advance", self._answering(Advance, self._advance))
        router.add_get("/emulator/faults", self._answering(Nothing, self._faults))
        router.add_post("/emulator/faults", self._answering(ArmedFault, self._arm))
        router.add_delete("/emulator/faults", self._answering(Disarm, self._disarm))
        router.add_get("/emulator/journal", self._answering(JournalQuestion, self._journal))
        router.add_post("/emulator/accounts", self._answering(NewAccount, self._open_account))
        router.add_post("/emulator/deposit", self._answering(Deposit, self._deposit))
        router.add_post("/emulator/orders", self._answering(ForeignOrder, self._order))
        router.add_post("/emulator/cancel", self._answering(ForeignCancel, self._cancel))
        router.add_post("/emulator/liquidate", self._answering(Liquidation, self._liquidate))
        router.add_post("/emulator/symbols", self._answering(SymbolChange, self._symbol))

    @staticmethod
    def _answering(
        kind: type[_Body], act: Callable[[_Body], Any]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            try:
                if request.method == "POST":
                    asked = kind.model_validate_json(await request.read() or b"{}")
                else:
                    asked = kind.model_validate(dict(request.query))
                answer = act(asked)
                if isinstance(answer, Awaitable):
                    answer = await answer
            except ValidationError as error:
                return _json({"error": _in_words(error)}, 400)
            except Unknown as unknown:
                return _json({"error": str(unknown)}, 400)
            except Refused as refused:
                return _json({"error": refused.reason, "code": refused.code}, 409)
            return _json(answer)

        return handler

    # Reading.

    def _state(self, _: Asked) -> dict[str, Any]:
        world = self.world
        return {
            "now_ms": world.now_ms,
            "end_ms": world.end_ms,
            "is_over": world.is_over,
            "speed": world.clock.speed,
            "market": world.market,
            "venues": {
                venue.value: {
                    "symbols": sorted(one.markets),
                    "accounts": {
                        name: {
                            "cash": str(account.exchange.ledger.cash),
                            "positions": _positions(account),
                            "open_orders": len(account.open_orders()),
                        }
                        for name, account in sorted(one.accounts.by_id.items())
                    },
                }
                for venue, one in world.venues.items()
            },
            **self._faults(Nothing()),
        }

    def _faults(self, _: Asked) -> dict[str, Any]:
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

    def _journal(self, asked: JournalQuestion) -> dict[str, Any]:
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
            if entry.seq > asked.after and asked.what in (None, entry.what)
        ]
        return {"entries": found[: asked.limit]}

    # Time and faults.

    def _speed(self, asked: SpeedChange) -> dict[str, Any]:
        self.world.set_speed(asked.speed)
        return {"speed": self.world.clock.speed, "now_ms": self.world.now_ms}

    async def _advance(self, asked: Advance) -> dict[str, Any]:
        left_ms = min(asked.ms, self.world.end_ms - self.world.now_ms)
        while left_ms > 0:
            step_ms = min(left_ms, _SLICE_MS)
            self.world.advance(step_ms)
            left_ms -= step_ms
            await asyncio.sleep(0)
        return {"now_ms": self.world.now_ms, "is_over": self.world.is_over}

    def _arm(self, asked: ArmedFault) -> dict[str, Any]:
        until_ms = None
        if asked.seconds is not None:
            until_ms = self.world.now_ms + int(asked.seconds * 1000)
        self.world.faults.arm(
            Fault(
                kind=asked.kind,
                venue=asked.venue,
                path=asked.path,
                probability=asked.probability,
                left=asked.left,
                value=asked.value,
                until_ms=until_ms,
            )
        )
        return self._faults(asked)

    def _disarm(self, asked: Disarm) -> dict[str, Any]:
        self.world.faults.clear(asked.kind)
        return self._faults(asked)

    # Accounts.

    def _venue(self, venue: Venue) -> VenueWorld:
        found = self.world.venues.get(venue)
        if found is None:
            raise Unknown(f"{venue} is not served here, but {', '.join(self.world.venues)}")
        return found

    def _account(self, asked: OfAccount) -> Account:
        accounts = self._venue(asked.venue).accounts.by_id
        if asked.account not in accounts:
            raise Unknown(f"no account {asked.account!r}; there are {', '.join(accounts)}")
        return accounts[asked.account]

    def _require_symbol(self, venue: Venue, symbol: str) -> None:
        markets = self._venue(venue).markets
        if symbol not in markets:
            raise Unknown(f"no symbol {symbol!r}; there are {', '.join(sorted(markets))}")

    def _open_account(self, asked: NewAccount) -> dict[str, Any]:
        key = ApiKey(
            key=asked.key,
            secret=asked.secret,
            can_trade=asked.can_trade,
            can_withdraw=asked.can_withdraw,
            can_transfer=asked.can_transfer,
            allowed_ips=asked.allowed_ips,
            expires_ms=asked.expires_ms,
        )
        accounts = self._venue(asked.venue).accounts
        is_new = asked.account not in accounts.by_id
        if is_new:
            self.world.open_account(asked.venue, asked.account, asked.capital, key)
        else:
            accounts.add(accounts.by_id[asked.account], key)
        return {
            "venue": asked.venue.value,
            "account": asked.account,
            "key": key.key,
            "opened": is_new,
        }

    def _deposit(self, asked: Deposit) -> dict[str, Any]:
        account = self._account(asked)
        account.deposit(asked.amount, now_ms=self.world.now_ms)
        return {"cash": str(account.exchange.ledger.cash)}

    def _order(self, asked: ForeignOrder) -> dict[str, Any]:
        account = self._account(asked)
        self._require_symbol(asked.venue, asked.symbol)
        self._orders += 1
        record = account.place(
            OrderRequest(
                client_order_id=ClientOrderId(f"web_{self._orders:06d}"),
                symbol=asked.symbol,
                side=asked.side,
                type=OrderType.MARKET if asked.price is None else OrderType.LIMIT,
                quantity=asked.quantity,
                price=asked.price,
                reduce_only=asked.reduce_only,
                purpose=OrderPurpose.ENTRY,
            ),
            now_ms=self.world.now_ms,
        )
        return {"client_id": record.client_id, "status": record.status.value}

    def _cancel(self, asked: ForeignCancel) -> dict[str, Any]:
        account = self._account(asked)
        for record in account.open_orders():
            if record.client_id == asked.client_id:
                account.cancel(record, now_ms=self.world.now_ms)
                return {"client_id": record.client_id, "status": record.status.value}
        raise Unknown(f"no order {asked.client_id!r} is open")

    def _liquidate(self, asked: Liquidation) -> dict[str, Any]:
        account = self._account(asked)
        self._require_symbol(asked.venue, asked.symbol)
        account.force_liquidation(asked.symbol, now_ms=self.world.now_ms)
        return {"quantity": str(account.exchange.position(asked.symbol).signed_quantity)}

    # Symbols.

    def _symbol(self, asked: SymbolChange) -> dict[str, Any]:
        self._require_symbol(asked.venue, asked.symbol)
        given = {name: getattr(asked, name) for name in FILTERS}
        filters = {name: value for name, value in given.items() if value is not None}
        if filters:
            change_filters(self.world, asked.venue, asked.symbol, filters)
        if asked.status is not None:
            is_open = asked.status == "trading"
            set_trading(self.world, asked.venue, asked.symbol, is_open=is_open)
        market = self.world.venues[asked.venue].markets[asked.symbol]
        shown = {name: str(getattr(market.instrument, name)) for name in FILTERS}
        status = "trading" if market.is_open else "closed"
        return {"symbol": asked.symbol, "status": status, **shown}


def _positions(account: Account) -> dict[str, str]:
    states = account.exchange.symbols.values()
    return {one.symbol: str(one.signed_quantity) for one in states if one.signed_quantity}


def _in_words(error: ValidationError) -> str:
    """Return every field that is wrong, what was given and what was expected."""
    told = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"])
        given = (
            f" (given: {item['input']!r})"
            if item["type"] not in ("missing", "json_invalid")
            else ""
        )
        told.append(f"{field}: {item['msg']}{given}" if field else f"{item['msg']}{given}")
    return "; ".join(told)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
