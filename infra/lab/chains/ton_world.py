"""A made-up TON: accounts with chains of transactions, messages between them, a masterchain block each second."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from infra.lab.chains.made import NOON, account, made_hash
from models.payment_address import Address, Chain
from models.payment_rules import USDT_TON_MASTER

LT_STEP = 1_000_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a message was received; the defaults are an ordinary payment to an active wallet."""

    bounce: bool = True
    bounced: bool = False
    exit_code: int = 0
    skipped: str | None = None
    action_success: bool = True
    bounce_phase: bool = False
    sends_back: bool = False
    op: int | None = None
    comment: str | None = None
    raw_body: str | None = None
    kind: str = "ord"
    end_status: str = "active"
    credited: int | None = None

    @property
    def success(self) -> bool:
        """Tell what the APIs' flag says: of the computation."""
        computed = self.skipped in {None, "no_state"} and (self.skipped is not None or self.exit_code in {0, 1})
        return computed and self.action_success and not self.bounce_phase

    @property
    def opcode(self) -> int | None:
        """Return the body's first 32 bits; a comment's are zero."""
        return 0 if self.comment is not None and self.op is None else self.op


@dataclass(slots=True)
class Tx:
    """One transaction on one account. `second`: its masterchain block, None while it is only a forecast."""

    hash: bytes
    account: Address
    lt: int
    at: datetime
    second: int | None
    previous: Tx | None
    source: Address | None
    units: int
    receipt: Receipt
    message: bytes
    trace: bytes
    is_send: bool = False


@dataclass(frozen=True, slots=True)
class JettonMove:
    """One jetton transfer as an index tells it."""

    hash: bytes
    master: Address
    sender: Address
    receiver: Address
    units: int
    lt: int
    at: datetime
    payload: object


@dataclass(slots=True)
class TonWorld:
    """The chain; also the clock.

    Attributes:
        second: Masterchain blocks since the origin, one a second.
        name: Sets its hashes apart from another made-up chain's.
    """

    second: int = 0
    origin: datetime = NOON
    name: str = ""
    accounts: dict[Address, list[Tx]] = field(default_factory=dict)
    jettons: list[JettonMove] = field(default_factory=list)
    made: int = 0

    def now(self) -> datetime:
        """Return the newest masterchain block's time."""
        return self.origin + timedelta(seconds=self.second)

    def mine(self, seconds: int = 1) -> None:
        """Let masterchain blocks go by."""
        self.second += seconds

    def solidify(self) -> None:
        """Let the masterchain take in what was only a forecast."""
        self.mine(2)
        for history in self.accounts.values():
            for tx in history:
                if tx.second is None:
                    tx.second = self.second

    def pay(
        self,
        receiver: Address,
        units: int,
        receipt: Receipt | None = None,
        *,
        payer: str = "payer",
        forecast: bool = False,
        comment: str | None = None,
        second: int | None = None,
    ) -> bytes:
        """Send TON in the next block (or that one); return the hash of the transaction on the receiver's account."""
        if second is None:
            self.mine()
        self.made += 1
        block = self.second if second is None else second
        at = self.origin + timedelta(seconds=block)
        trace = made_hash(f"{self.name}ton send {self.made}")
        message = made_hash(f"{self.name}ton message {self.made}")
        sender = account(Chain.TON, payer)
        self._append(Tx(trace, sender, 0, at, block, None, None, 0, Receipt(), b"", trace, is_send=True))
        told = receipt or Receipt()
        if comment is not None:
            told = replace(told, comment=comment)
        tx = made_hash(f"{self.name}ton receive {self.made}")
        self._append(Tx(tx, receiver, 0, at, None if forecast else block, None, sender, units, told, message, trace))
        return tx

    def send(self, sender: Address) -> bytes:
        """Send out of an account of ours: one external message in, no money in; to whom is not told on this account."""
        self.mine()
        self.made += 1
        tx = made_hash(f"{self.name}ton out {self.made}")
        self._append(Tx(tx, sender, 0, self.now(), self.second, None, None, 0, Receipt(), tx, tx, is_send=True))
        return tx

    def pay_jettons(
        self, receiver: Address, units: int, *, master: Address = USDT_TON_MASTER, payload: object = None
    ) -> bytes:
        """Transfer jettons, with no notification to the receiver."""
        self.mine()
        self.made += 1
        tx = made_hash(f"{self.name}jetton {self.made}")
        lt = LT_STEP * (self.made + 1)
        sender = account(Chain.TON, "payer")
        self.jettons.append(JettonMove(tx, master, sender, receiver, units, lt, self.now(), payload))
        return tx

    def _append(self, tx: Tx) -> None:
        history = self.accounts.setdefault(tx.account, [])
        tx.lt = LT_STEP * (self.made + 1) + (0 if tx.is_send else 2)
        tx.previous = history[-1] if history else None
        history.append(tx)

    def confirm(self, hash_: bytes) -> None:
        """Let the masterchain take in one forecast."""
        self.mine()
        for tx in self.all(forecasts=True):
            if tx.hash == hash_ and tx.second is None:
                tx.second = self.second

    def vanish(self, hash_: bytes) -> None:
        """Lose a forecast that never came true."""
        for history in self.accounts.values():
            history[:] = [tx for tx in history if tx.hash != hash_]

    def history(
        self, address: Address, *, lag: int = 0, forecasts: bool = False, hidden: Collection[bytes] = ()
    ) -> list[Tx]:
        """Return an account's transactions as an index that many seconds behind knows them, newest first."""
        known = self.accounts.get(address, [])
        return [
            tx
            for tx in reversed(known)
            if tx.hash not in hidden
            and ((forecasts and tx.second is None) or (tx.second is not None and tx.second <= self.second - lag))
        ]

    def find(self, hash_: bytes, *, lag: int = 0, forecasts: bool = False, hidden: Collection[bytes] = ()) -> Tx | None:
        """Return a transaction by its own hash."""
        return next((tx for tx in self.all(lag=lag, forecasts=forecasts, hidden=hidden) if tx.hash == hash_), None)

    def all(self, *, lag: int = 0, forecasts: bool = False, hidden: Collection[bytes] = ()) -> list[Tx]:
        """Return every account's transactions."""
        return [
            tx for address in self.accounts for tx in self.history(address, lag=lag, forecasts=forecasts, hidden=hidden)
        ]
