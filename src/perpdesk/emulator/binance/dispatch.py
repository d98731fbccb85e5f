"""From a request to its endpoint: limits, key, signature, clock, and the journal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perpdesk.domain.candles import Venue
from perpdesk.emulator.binance.auth import Gate
from perpdesk.emulator.binance.calls import Call, Endpoint, Params, Security
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.binance.limits import Limits
from perpdesk.emulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a request shows of itself. payload: what was signed; signature: "" where none came."""

    key: str
    payload: str
    signature: str
    address: str


class Dispatcher:
    """Runs calls. Everything a client can change goes through here."""

    def __init__(
        self, world: World, gate: Gate, limits: Limits, endpoints: Sequence[Endpoint]
    ) -> None:
        self._world = world
        self._gate = gate
        self.limits = limits
        self._endpoints = {(each.method, each.path): each for each in endpoints}

    def run(
        self, method: str, path: str, values: Mapping[str, str], proof: Proof
    ) -> tuple[object, str | None]:
        """Return the answer, and the account whose orders were counted. Raises ApiError."""
        params = Params(values)
        endpoint = self._endpoints.get((method, path))
        if endpoint is None:
            self.limits.charge(proof.address, 1)
            raise ApiError(-5000, path, method)
        self.limits.charge(proof.address, endpoint.cost(params))
        call = Call(
            method=method,
            path=path,
            params=params,
            world=self._world,
            venue=self._world.venues[Venue.BINANCE],
        )
        self._admit(call, endpoint, proof)
        counted = None
        if any(endpoint.orders):
            counted = call.account.account_id
            self.limits.count_orders(counted, *endpoint.orders)
        if not endpoint.changes:
            return endpoint.act(call), counted
        return self._noted(call, endpoint), counted

    def _admit(self, call: Call, endpoint: Endpoint, proof: Proof) -> None:
        """Check what the endpoint's security asks for."""
        security = endpoint.security
        if security is Security.NONE:
            return
        key, account = self._gate.enter(proof.key, proof.address)
        call.maybe_key, call.maybe_account = key, account
        if security is Security.KEY:
            return
        if not proof.signature:
            raise ApiError(-1102, "signature")
        self._gate.check_time(call.params)
        self._gate.check_signature(key.secret, proof.payload, proof.signature)
        if security is Security.TRADE and not key.can_trade:
            raise ApiError(-2015)

    def _noted(self, call: Call, endpoint: Endpoint) -> object:
        """Run a call that changes something, and write down what came of it."""
        try:
            answer = endpoint.act(call)
        except ApiError as error:
            self._note(call, "request refused", {"code": str(error.code), "reason": error.message})
            raise
        self._note(call, "request accepted", {})
        return answer

    def _note(self, call: Call, what: str, outcome: Mapping[str, str]) -> None:
        hidden = ("signature", "timestamp", "recvWindow", "apiKey")
        asked = {name: text for name, text in call.params.values.items() if name not in hidden}
        facts = {"method": call.method, "path": call.path, **asked, **outcome}
        self._world.note(Venue.BINANCE, call.account.account_id, what, facts)
