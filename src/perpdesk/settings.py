"""One tree of settings, read from the environment and from `.env` in the working folder.

The environment wins over `.env`, `.env` over the default; an empty value counts as not set.
`.env.example` holds every field of this file and nothing else; a test compares both ways.
"""

import difflib
import os
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from perpdesk.domain.errors import UsageRefused

ENV_FILE: Final = Path(".env")

_SECRET_OF_KEY: Final = "secret, the other half of the key above"

_OURS: Final = ("PERPDESK_", "SIMULATION_", "TELEGRAM_", "TRADING_")
"""A key of `.env` that starts so is meant for us: where we do not know it, it is a mistake."""


_URL_OVERRIDES: Final = tuple(
    f"perpdesk_{venue}_{kind}_url" for venue in ("binance", "bybit") for kind in ("rest", "ws")
)


class TradingMode(StrEnum):
    """Which venue orders reach: the simulated exchange, a venue's test hosts, or real money."""

    SIMULATION = "simulation"
    TESTNET = "testnet"
    DEMO = "demo"
    LIVE = "live"


class Exchange(StrEnum):
    """The exchange that commands and sessions mean where none is named."""

    BINANCE = "binance"
    BYBIT = "bybit"


class Source(StrEnum):
    """Where a setting's value comes from."""

    DEFAULT = "default"
    ENV_FILE = ".env"
    ENVIRONMENT = "environment"


class Settings(BaseSettings):
    """Every setting of the desk. The variable's name is the field's, in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    trading_mode: TradingMode = Field(
        TradingMode.SIMULATION,
        description="simulation, testnet, demo or live; live needs TRADING_APPROVED=true as well",
    )
    trading_approved: bool = Field(
        False, description="true only when a person allows orders with real money"
    )

    exchange: Exchange = Field(Exchange.BINANCE, description="binance or bybit")
    rest_url: str | None = Field(
        None, description="another http(s) host for the exchange; empty: the exchange's own"
    )
    ws_url: str | None = Field(
        None, description="another ws(s) host for the exchange's streams; empty: its own"
    )

    perpdesk_binance_rest_url: str | None = Field(
        None, description="another http(s) host for Binance, such as the emulator's; empty: its own"
    )
    perpdesk_binance_ws_url: str | None = Field(
        None, description="another ws(s) host for Binance's streams; empty: its own"
    )
    perpdesk_bybit_rest_url: str | None = Field(
        None, description="another http(s) host for Bybit, such as the emulator's; empty: its own"
    )
    perpdesk_bybit_ws_url: str | None = Field(
        None, description="another ws(s) host for Bybit's streams; empty: its own"
    )

    binance_trade_live_key: SecretStr | None = Field(
        None, description="secret, orders with real money at Binance; no other key stands in"
    )
    binance_trade_live_secret: SecretStr | None = Field(None, description=_SECRET_OF_KEY)
    binance_trade_demo_key: SecretStr | None = Field(
        None, description="secret, orders with play money at Binance's demo"
    )
    binance_trade_demo_secret: SecretStr | None = Field(None, description=_SECRET_OF_KEY)
    binance_data_live_key: SecretStr | None = Field(
        None, description="secret, margin tiers and fees of Binance; candles need no key"
    )
    binance_data_live_secret: SecretStr | None = Field(None, description=_SECRET_OF_KEY)
    binance_data_demo_key: SecretStr | None = Field(
        None, description="secret, margin tiers and fees of Binance's demo"
    )
    binance_data_demo_secret: SecretStr | None = Field(None, description=_SECRET_OF_KEY)
    bybit_trade_live_key: SecretStr | None = Field(
        None, description="secret, orders with real money at Bybit; no other key stands in"
    )
    bybit_trade_live_secret: SecretStr | None = Field(None, description=_SECRET_OF_KEY)
    bybit_trade_demo_key: SecretStr | None = Field(
        None, description="secret, orders with play money at Bybit's demo trading"
    )
    bybit_trade_demo_secret: SecretStr | None = Field(None, description=_SECRET_OF_KEY)
    bybit_data_live_key: SecretStr | None = Field(
        None, description="secret, fees of Bybit; candles and margin tiers need no key"
    )
    bybit_data_live_secret: SecretStr | None = Field(None, description=_SECRET_OF_KEY)
    bybit_data_demo_key: SecretStr | None = Field(
        None, description="secret, fees of Bybit's testnet"
    )
    bybit_data_demo_secret: SecretStr | None = Field(None, description=_SECRET_OF_KEY)

    data_dir: Path = Field(
        Path("data"), description="folder of candles, backtests, artifacts and reports"
    )
    db_path: Path | None = Field(
        None, description="the desk's SQLite file; empty: app.db inside DATA_DIR"
    )
    strategies_dir: Path = Field(
        Path("strategies"), description="folder of your own strategies; it may be absent"
    )

    simulation_initial_capital: Decimal = Field(
        Decimal(10_000), gt=0, le=Decimal(10) ** 12, description="USDT on the account at the start"
    )
    simulation_commission: Decimal | None = Field(
        None,
        ge=0,
        le=Decimal("0.01"),
        description="fraction of notional, 0.0004 means 0.04 %; empty: the exchange's fees by date",
    )
    simulation_slippage: Decimal = Field(
        Decimal(2),
        ge=0,
        le=1000,
        description="how much worse a market order fills, in bps: 2 means 0.02 %",
    )

    telegram_enabled: bool = Field(
        False, description="true sends word to Telegram; needs the token and the chat"
    )
    telegram_bot_token: SecretStr | None = Field(None, description="secret, from @BotFather")
    telegram_chat_id: str | None = Field(
        None, pattern=r"^(-?\d+|@\w+)$", description="a number such as -1001234567890, or @channel"
    )

    @field_validator("rest_url", "ws_url", *_URL_OVERRIDES)
    @classmethod
    def _is_url(cls, value: str | None, info: Any) -> str | None:
        if value is None:
            return None
        schemes = ("ws", "wss") if info.field_name.endswith("ws_url") else ("http", "https")
        url = urlsplit(value)
        if url.scheme not in schemes or not url.hostname:
            raise ValueError(f"an address starts with {schemes[1]}:// or {schemes[0]}://")
        if url.username or url.password:
            raise ValueError("an address must not carry a user name or password")
        if url.query or url.fragment:
            raise ValueError("an address must not carry a question mark or a hash")
        _ = url.port  # raises ValueError where it is no port
        return value.rstrip("/")

    @field_validator("data_dir", "db_path", "strategies_dir")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None

    @model_validator(mode="after")
    def _allows_what_it_asks_for(self) -> Self:
        if self.trading_mode is TradingMode.LIVE and not self.trading_approved:
            raise ValueError(
                "TRADING_MODE=live trades real money and needs TRADING_APPROVED=true as well"
            )
        if self.telegram_enabled and not (self.telegram_bot_token and self.telegram_chat_id):
            raise ValueError(
                "TELEGRAM_ENABLED=true needs TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID as well"
            )
        for name in type(self).model_fields:
            if name.endswith("_secret"):
                key = name.removesuffix("_secret") + "_key"
                if (getattr(self, name) is None) != (getattr(self, key) is None):
                    given, absent = (name, key) if getattr(self, key) is None else (key, name)
                    raise ValueError(f"{given.upper()} is set, {absent.upper()} is not")
        return self

    @property
    def database_path(self) -> Path:
        """The desk's SQLite file: DB_PATH, or `app.db` inside DATA_DIR."""
        return self.db_path or self.data_dir / "app.db"


def load_settings(env_file: Path = ENV_FILE) -> Settings:
    """Read the settings; raise UsageRefused that names each wrong variable and where it is set."""
    keys = _keys_of(env_file)
    _refuse_unknown(keys, env_file)
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        found = sources(env_file)
        raise UsageRefused(
            "; ".join(_problem(item, found) for item in error.errors(include_url=False)),
            next_step="Correct it, then run 'perpdesk config check'; '.env.example' explains "
            "every setting.",
        ) from None


def sources(env_file: Path = ENV_FILE) -> dict[str, Source]:
    """Return where the value of each variable comes from, by the variable's name."""
    environment = {name.upper() for name, value in os.environ.items() if value}
    in_file = {name.upper() for name, value in _keys_of(env_file).items() if value}
    result = {}
    for name in variable_names():
        if name in environment:
            result[name] = Source.ENVIRONMENT
        else:
            result[name] = Source.ENV_FILE if name in in_file else Source.DEFAULT
    return result


def variable_names() -> list[str]:
    """Return the names of all settings, in their order."""
    return [name.upper() for name in Settings.model_fields]


def _keys_of(env_file: Path) -> Mapping[str, str | None]:
    if not env_file.is_file():
        return {}
    try:
        with env_file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except UnicodeDecodeError:
        raise UsageRefused(
            f"{env_file} is not UTF-8 text", next_step="Save it as UTF-8 and try again."
        ) from None
    for binding in bindings:
        if binding.error:
            raise UsageRefused(
                f"{env_file}, line {binding.original.line}: expected NAME=value",
                next_step="Correct the line, or start it with # to switch it off.",
            )
    return {binding.key: binding.value for binding in bindings if binding.key}


def _refuse_unknown(keys: Mapping[str, str | None], env_file: Path) -> None:
    known = variable_names()
    for key in keys:
        name = key.upper()
        if name in known:
            continue
        similar = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        if similar or name.startswith(_OURS):
            hint = f"Did you mean {similar[0]}? " if similar else ""
            raise UsageRefused(
                f"{env_file} sets {key}, which is no setting of perpdesk",
                next_step=f"{hint}'perpdesk config show' lists every setting.",
            )


def _problem(item: Any, found: Mapping[str, Source]) -> str:
    reason = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return str(reason)
    name = str(item["loc"][0]).upper()
    field = Settings.model_fields[name.lower()]
    secret = "SecretStr" in str(field.annotation) or "@" in str(item["input"])
    given = "" if secret else f"={item['input']}"
    return f"{name}{given} (from {found[name]}): {reason}; expected: {field.description}"
