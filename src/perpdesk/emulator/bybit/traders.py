"""All traders of the venue: one for each account, made when it is first seen."""

from collections.abc import Callable

from perpdesk.domain.candles import Venue
from perpdesk.domain.events import PositionLiquidated
from perpdesk.emulator.accounts import Account
from perpdesk.emulator.bybit.trader import Trader
from perpdesk.emulator.bybit.trading_stop import attach
from perpdesk.emulator.world import World


class Traders:
    """Traders by account. on_new: told of each; on_liquidation: of every liquidation."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.by_id: dict[str, Trader] = {}
        self.on_new: Callable[[Trader], None] = lambda trader: None
        self.on_liquidation: Callable[[PositionLiquidated], None] = lambda event: None

    def of(self, account: Account) -> Trader:
        """Return the trader of an account."""
        trader = self.by_id.get(account.account_id)
        if trader is None:
            trader = self.by_id[account.account_id] = Trader(account)
            trader.on_liquidation = lambda event: self.on_liquidation(event)
            self.on_new(trader)
        return trader

    def meet(self) -> None:
        """Get to know accounts that were opened since."""
        accounts = self.world.venues[Venue.BYBIT].accounts.by_id
        if len(accounts) != len(self.by_id):
            for account in accounts.values():
                self.of(account)

    def attach(self) -> None:
        """Give positions the stops that came with what has filled."""
        for trader in self.by_id.values():
            if trader.to_attach:
                attach(self.world, trader)
