"""What the guide tells about other clients works as it is written."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_download_from_emulator import emulator

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "emulator.md"
THEN = {
    "binance": "import asyncio; asyncio.run(main())",
    "pybit": "assert http.get_wallet_balance(accountType='UNIFIED')['retCode'] == 0",
    "ccxt": """
for exchange in (binance, bybit):
    assert exchange.load_markets()
    assert exchange.fetch_balance()["USDT"]["total"] > 9_000
    assert exchange.create_order("BTC/USDT:USDT", "market", "buy", 0.01)["id"]
""",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with emulator(tmp_path_factory.mktemp("emulator")) as found:
        yield found


def block_of(client: str) -> str:
    text = GUIDE.read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    (block,) = [
        each for each in found if re.search(rf"^(import|from) {client}", each, re.MULTILINE)
    ]
    return str(block)


@pytest.mark.parametrize("client", THEN)
def test_a_client_that_is_pointed_as_the_guide_says_trades(
    world: dict[str, Any], client: str
) -> None:
    program = block_of(client).replace("127.0.0.1:18080", world["rest"].removeprefix("http://"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{program}\n{THEN[client]}"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
