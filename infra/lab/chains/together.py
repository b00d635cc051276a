"""Two made-up chains that share one time, and the deeds done on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from infra.lab.chains.faults import Faults
from infra.lab.chains.made import account
from infra.lab.chains.server import StandIn
from infra.lab.chains.ton_world import Receipt
from infra.lab.chains.tron_world import BLOCK, FIRST_BLOCK, Move
from models.payment import Provider
from models.payment_address import Address, Chain, parse_address
from models.payment_rules import USDT_TON_MASTER, USDT_TRON_CONTRACT


@dataclass(slots=True)
class Together:
    """Both chains of a stand-in as one world; also its clock, the later of the two.

    Attributes:
        stand_in: What serves them.
        made: Transactions by the names a case gives them.
    """

    stand_in: StandIn
    made: dict[str, tuple[Chain, bytes]] = field(default_factory=dict)

    def now(self) -> datetime:
        """Return the present, aware UTC."""
        return max(self.stand_in.tron.now(), self.stand_in.ton.now())

    def level(self) -> None:
        """Let the chain that is behind catch up; each has whole blocks only."""
        self._reach(self.now())

    def go_by(self, time: timedelta) -> None:
        """Let that much time go by."""
        self._reach(self.now() + time)

    def _reach(self, at: datetime) -> None:
        tron, ton = self.stand_in.tron, self.stand_in.ton
        tron.height = max(tron.height, FIRST_BLOCK + (at - tron.origin) // BLOCK)
        ton.second = max(ton.second, (at - ton.origin) // timedelta(seconds=1))

    def lag(self, provider: Provider, behind: timedelta) -> None:
        """Let a provider's index be behind from now on."""
        unit = BLOCK if provider.chain is Chain.TRON else timedelta(seconds=1)
        self.faults(provider).lag = behind // unit

    def faults(self, provider: Provider) -> Faults:
        """Return what can go wrong with a provider."""
        return self.stand_in.faults[provider]

    def hide(self, tx: bytes, providers: frozenset[Provider]) -> None:
        """Let these providers know nothing of a transaction."""
        for provider in providers:
            self.faults(provider).hidden.add(tx)

    def show(self, name: str) -> None:
        """Let everybody know a transaction, and a forecast come true."""
        chain, tx = self.made[name]
        for faults in self.stand_in.faults.values():
            faults.hidden.discard(tx)
        if chain is Chain.TON:
            self.stand_in.ton.confirm(tx)

    def vanish(self, name: str) -> None:
        """Lose a transaction that was not final."""
        chain, tx = self.made[name]
        if chain is Chain.TRON:
            self.stand_in.tron.vanish(tx)
        else:
            self.stand_in.ton.vanish(tx)

    def mine_again(self, name: str) -> None:
        """Put a call on TRON into another block, as a fork does."""
        self.stand_in.tron.mine_again(self.made[name][1])

    def move(self, to: str | Address, units: int, *, payer: str, contract: Address = USDT_TRON_CONTRACT) -> Move:
        """Return an event on TRON."""
        receiver = to if isinstance(to, Address) else account(Chain.TRON, to)
        return Move(contract, account(Chain.TRON, payer), receiver, units)

    def call(
        self,
        moves: list[Move],
        *,
        result: str = "SUCCESS",
        called: str | None = None,
        symbol: str = "USDT",
        decimals: int = 6,
        same_block: bool = False,
        at: datetime | None = None,
    ) -> bytes:
        """Put a call on TRON."""
        tron = self.stand_in.tron
        return tron.call(
            moves,
            result=result,
            called=moves[0].contract if called is None else contract_named(called),
            symbol=symbol,
            decimals=decimals,
            same_block=same_block,
            height=None if at is None else FIRST_BLOCK + (at - tron.origin) // BLOCK,
        )

    def send(
        self,
        to: str | Address,
        units: int,
        receipt: Receipt,
        *,
        payer: str = "payer",
        forecast: bool = False,
        at: datetime | None = None,
    ) -> bytes:
        """Send TON."""
        ton = self.stand_in.ton
        second = None if at is None else (at - ton.origin) // timedelta(seconds=1)
        receiver = to if isinstance(to, Address) else account(Chain.TON, to)
        return ton.pay(receiver, units, receipt, payer=payer, forecast=forecast, second=second)

    def send_jettons(self, to: str, units: int, *, master: str | None, payload: object) -> bytes:
        """Send USDT on TON, or another jetton."""
        return self.stand_in.ton.pay_jettons(
            account(Chain.TON, to), units, master=USDT_TON_MASTER if master is None else jetton_named(master),
            payload=payload,
        )  # fmt: skip

    def hash_of(self, name: str, by: str) -> str:
        """Return a transaction's hash as a wallet may show it: its own, or on TON the message's or the trace's."""
        chain, tx = self.made[name]
        if chain is Chain.TON and by in {"message", "trace"}:
            found = self.stand_in.ton.find(tx, forecasts=True)
            if found is not None:
                return (found.message if by == "message" else found.trace).hex()
        if by == "link":
            return f"https://tronscan.org/#/transaction/{tx.hex()}"
        return "0x" + tx.hex().upper() if by == "upper" else tx.hex()


def contract_named(name: str) -> Address:
    """Return a contract on TRON: hex, or one that belongs to a name."""
    return parse_address(name, Chain.TRON) if name.startswith("41") else account(Chain.TRON, f"contract {name}")


def jetton_named(name: str) -> Address:
    """Return a jetton's master: raw, or one that belongs to a name."""
    return parse_address(name, Chain.TON) if name.startswith("0:") else account(Chain.TON, f"master {name}")
