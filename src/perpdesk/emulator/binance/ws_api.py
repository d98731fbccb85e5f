"""The WebSocket API: the same calls as REST, as JSON requests with ids."""

from collections.abc import Mapping
from typing import Final

import orjson

from perpdesk.emulator.binance.dispatch import Dispatcher, Proof
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.binance.lists import as_text

METHODS: Final[Mapping[str, tuple[str, str]]] = {
    "ping": ("GET", "/fapi/v1/ping"),
    "time": ("GET", "/fapi/v1/time"),
    "depth": ("GET", "/fapi/v1/depth"),
    "ticker.price": ("GET", "/fapi/v2/ticker/price"),
    "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
    "order.place": ("POST", "/fapi/v1/order"),
    "order.modify": ("PUT", "/fapi/v1/order"),
    "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.status": ("GET", "/fapi/v1/order"),
    "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
    "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
    "account.status": ("GET", "/fapi/v2/account"),
    "account.balance": ("GET", "/fapi/v2/balance"),
    "account.position": ("GET", "/fapi/v2/positionRisk"),
    "v2/account.status": ("GET", "/fapi/v3/account"),
    "v2/account.balance": ("GET", "/fapi/v3/balance"),
    "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
    "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
    "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
    "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
}
_SESSION: Final = ("session.logon", "session.status", "session.logout")


class WsApi:
    """Answers requests of one kind of socket. The text that goes out is what this returns."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def answer(self, text: str, address: str) -> str:
        """Return the answer to one request."""
        number: object = None
        counted: str | None = None
        told: dict[str, object]
        try:
            number, method, params = _read(text)
            if method in _SESSION:
                told = {"status": 200, "result": self._session(method)}
            else:
                result, counted = self._run(method, params, address)
                told = {"status": 200, "result": result}
        except ApiError as error:
            told = {"status": error.status, "error": error.body()}
        limits = self._dispatcher.limits.rows(address, counted)
        return orjson.dumps({"id": number, **told, "rateLimits": limits}).decode()

    @staticmethod
    def _session(method: str) -> object:
        """Only Ed25519 keys may log on, and there are none here."""
        if method == "session.logon":
            raise ApiError(-4056)
        return {"apiKey": None, "authorizedSince": None, "connectedSince": 0}

    def _run(
        self, method: str, params: Mapping[str, object], address: str
    ) -> tuple[object, str | None]:
        if method not in METHODS:
            raise ApiError(-1000, text=f"Unknown method '{method}'.")
        values = {name: as_text(value) for name, value in params.items()}
        signature = values.pop("signature", "")
        payload = "&".join(f"{name}={values[name]}" for name in sorted(values))
        proof = Proof(
            key=values.get("apiKey", ""), payload=payload, signature=signature, address=address
        )
        http_method, path = METHODS[method]
        return self._dispatcher.run(http_method, path, values, proof)


def _read(text: str) -> tuple[object, str, Mapping[str, object]]:
    """Return (id, method, params). Raises ApiError."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ApiError(-1000, text="Invalid JSON.") from None
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        raise ApiError(-1102, "method")
    params = message.get("params") or {}
    if not isinstance(params, dict):
        raise ApiError(-1102, "params")
    return message.get("id"), message["method"], params
