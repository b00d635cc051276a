"""A made-up TRON: blocks every three seconds, solid after nineteen, calls that fail, blocks that are mined anew."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from infra.lab.chains.made import NOON, account, made_hash
from models.payment_address import Address, Chain
from models.payment_rules import USDT_TRON_CONTRACT

BLOCK = timedelta(seconds=3)
FIRST_BLOCK = 1_000
SOLID_AFTER = 19
"""Blocks on top: two thirds of the 27 super representatives."""


@dataclass(slots=True)
class Move:
    """One Transfer event, carried out or only attempted."""

    contract: Address
    sender: Address
    receiver: Address
    units: int


@dataclass(slots=True)
class Call:
    """One transaction that called a contract."""

    tx: bytes
    moves: list[Move]
    result: str
    height: int
    called: Address = USDT_TRON_CONTRACT
    symbol: str = "USDT"
    decimals: int = 6

    @property
    def succeeded(self) -> bool:
        """Tell whether its events were written."""
        return self.result == "SUCCESS"


@dataclass(slots=True)
class TronWorld:
    """The chain; also the clock, since its newest block is the present.

    Attributes:
        origin: The time of block 1,000.
        name: Sets its hashes apart from another made-up chain's.
    """

    height: int = FIRST_BLOCK
    origin: datetime = NOON
    name: str = ""
    calls: dict[bytes, Call] = field(default_factory=dict)
    made: int = 0

    def now(self) -> datetime:
        """Return the newest block's time."""
        return self.time_of(self.height)

    def time_of(self, height: int) -> datetime:
        """Return a block's time; block 1,000 is the origin."""
        return self.origin + (height - FIRST_BLOCK) * BLOCK

    def mine(self, blocks: int = 1) -> None:
        """Let blocks go by."""
        self.height += blocks

    def solidify(self) -> None:
        """Let enough blocks go by that all of now is final."""
        self.mine(SOLID_AFTER + 1)

    def call(
        self,
        moves: list[Move],
        *,
        result: str = "SUCCESS",
        called: Address = USDT_TRON_CONTRACT,
        symbol: str = "USDT",
        decimals: int = 6,
        same_block: bool = False,
        height: int | None = None,
    ) -> bytes:
        """Mine a call into the next block (or the newest, or that one) and return its hash."""
        if not same_block and height is None:
            self.mine()
        self.made += 1
        tx = made_hash(f"{self.name}tron {self.made}")
        self.calls[tx] = Call(tx, moves, result, self.height if height is None else height, called, symbol, decimals)
        return tx

    def pay(self, receiver: Address, units: int, *, payer: str = "payer", result: str = "SUCCESS") -> bytes:
        """Transfer USDT; with another result the transfer is only attempted."""
        return self.call([self.move(receiver, units, payer=payer)], result=result)

    def move(self, receiver: Address, units: int, *, payer: str = "payer") -> Move:
        """Return a USDT event."""
        return Move(USDT_TRON_CONTRACT, account(Chain.TRON, payer), receiver, units)

    def is_solid(self, call: Call, *, lag: int = 0) -> bool:
        """Tell whether a call can no longer vanish, as seen by an index that many blocks behind."""
        return self.height - lag - call.height >= SOLID_AFTER

    def vanish(self, tx: bytes) -> None:
        """Lose a call in a fork."""
        del self.calls[tx]

    def mine_again(self, tx: bytes) -> None:
        """Put a call into another, newer block, as a fork does."""
        self.mine()
        self.calls[tx].height = self.height

    def find(self, tx: bytes, *, lag: int = 0, hidden: Collection[bytes] = ()) -> Call | None:
        """Return a call by its hash, if an index that many blocks behind knows it."""
        call = self.calls.get(tx)
        return None if call is None or tx in hidden or call.height > self.height - lag else call

    def told(self, *, lag: int = 0, hidden: Collection[bytes] = ()) -> list[Call]:
        """Return the calls an index that many blocks behind knows, newest first."""
        known = [call for call in self.calls.values() if call.height <= self.height - lag and call.tx not in hidden]
        return sorted(known, key=lambda call: (call.height, call.tx), reverse=True)
