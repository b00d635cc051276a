"""tonapi: tells a TON account's transactions with decoded comments; the first to see a payment.

Source: the service's OpenAPI of 2026 and captured answers. Its /events view is display text and never read here: it
says "ok" of transfers whose transaction failed. Its `success` flag is about computation, see `models.payment_rules`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic import Field

from infra.chains.cells import comment_in
from infra.chains.door import Door
from infra.chains.shapes import HexHash, Seconds, Shape, TonAddress, Whole, read_shape
from infra.chains.ton_pages import page_of, read_back, remarks_on, sighting_of
from models.errors import ChainAnswerInvalid, ChainUnavailable
from models.payment import MOST_UNITS, Asset, Provider, Transfer
from models.payment_address import Address, Chain
from models.payment_ports import CompletePage, Head, IncompletePage, Page, Proof
from models.payment_quorum import Sighting, TxState
from models.payment_rules import COMMENT_OP, USDT_TON_MASTER, Ruling, TonMessage, TonTransaction
from models.ports import Clock

PAGE_ROWS = 50
"""A quarter of the body cap at the usual four kilobytes a transaction, with room for long ones."""

MOST_JETTON_PAGES = 100


class _Account(Shape):
    address: TonAddress


class _Message(Shape):
    msg_type: str
    bounce: bool
    bounced: bool
    value: Whole
    source: _Account | None = None
    destination: _Account | None = None
    op_code: str | None = None
    raw_body: str | None = None
    decoded_op_name: str | None = None
    decoded_body: Any = None


class _Credit(Shape):
    credit: Whole


class _Action(Shape):
    success: bool


class _Transaction(Shape):
    hash: HexHash
    lt: Whole
    account: _Account
    success: bool
    utime: Seconds
    end_status: str
    transaction_type: str
    in_msg: _Message | None = None
    out_msgs: list[_Message] = Field(default_factory=list)
    prev_trans_hash: HexHash | None = None
    action_phase: _Action | None = None
    bounce_phase: str | None = None
    credit_phase: _Credit | None = None


class _OnAccount(Shape):
    account: _Account


class _Jetton(Shape):
    address: TonAddress


class _JettonOperation(Shape):
    operation: str
    utime: Seconds
    lt: Whole
    jetton: _Jetton
    transaction_hash: HexHash
    amount: Whole
    source: _Account | None = None
    destination: _Account | None = None
    payload: Any = None


class _Block(Shape):
    seqno: Whole
    gen_utime: Seconds


class TonApi:
    """tonapi as a `ChainProvider`, and as the `JettonFeed`."""

    def __init__(self, door: Door, clock: Clock) -> None:
        self._door = door
        self._clock = clock

    @property
    def provider(self) -> Provider:
        """Return which one it is."""
        return Provider.TONAPI

    async def discover(self, address: Address, *, since: datetime) -> Page:
        """See `ChainProvider.discover`."""
        began = self._clock.now()

        async def read_page(before: int | None) -> list[TonTransaction]:
            place = {} if before is None else {"before_lt": before}
            path = f"/v2/blockchain/accounts/{address.raw_text}/transactions"
            answer = await self._door.get(path, limit=PAGE_ROWS, sort_order="desc", **place)
            return [self._transaction(row) for row in self._rows(answer, "transactions")]

        reading = await read_back(read_page, since)
        return page_of(reading, self.provider, address, since=since, began=began)

    async def prove(self, tx: bytes, *, address: Address) -> Proof:
        """See `ChainProvider.prove`; also takes the hash of a message or of a trace's root, as wallets show them."""
        seen_at = self._clock.now()
        answer = await self._door.find(f"/v2/blockchain/transactions/{tx.hex()}")
        if answer is None:
            answer = await self._door.find(f"/v2/blockchain/messages/{tx.hex()}/transaction")
        if answer is None:
            return Proof(self.provider, tx, TxState.UNKNOWN, ())
        told = self._transaction(answer)
        found = [told] if told.account == address else await self._in_trace(told.tx, address)
        sightings = tuple(sighting_of(one, self.provider, address, seen_at=seen_at) for one in found)
        final = all(one.state is TxState.FINAL for one in sightings)
        remarks = Counter(remark for one in found for remark in remarks_on(one, address))
        state = TxState.FINAL if final else TxState.PENDING
        return Proof(self.provider, tx, state, sightings, told.at, dict(remarks))

    async def _in_trace(self, tx: bytes, address: Address) -> list[TonTransaction]:
        trace = await self._door.find(f"/v2/traces/{tx.hex()}")
        if trace is None:
            return []
        return [
            self._transaction(row, emulated=emulated)
            for row, emulated in _nodes(trace)
            if read_shape(_OnAccount, row, self.provider).account.address == address
        ]

    def _rows(self, answer: dict[str, Any], name: str) -> list[Any]:
        rows = answer.get(name)
        if not isinstance(rows, list):
            raise ChainAnswerInvalid(self.provider, f"its answer holds no {name}")
        return rows

    def _transaction(self, row: Any, *, emulated: bool = False) -> TonTransaction:
        told = read_shape(_Transaction, row, self.provider)
        return TonTransaction(
            account=told.account.address,
            logical_time=told.lt,
            tx=told.hash,
            previous=None if told.prev_trans_hash == bytes(32) else told.prev_trans_hash,
            at=told.utime,
            ordinary=told.transaction_type == "TransOrd",
            message=None if told.in_msg is None else self._message(told.in_msg),
            success=told.success,
            action_failed=told.action_phase is not None and not told.action_phase.success,
            bounce_phase=told.bounce_phase is not None,
            credited=None if told.credit_phase is None else told.credit_phase.credit,
            returned_to=frozenset(
                out.destination.address for out in told.out_msgs if out.destination is not None and out.value > 0
            ),
            end_status=told.end_status,
            final=not emulated,
        )

    def _message(self, told: _Message) -> TonMessage:
        op = None
        if told.op_code is not None:
            try:
                op = int(told.op_code, 16)
            except ValueError as error:
                raise ChainAnswerInvalid(self.provider, "an op_code is not hex") from error
        return TonMessage(
            internal=told.msg_type == "int_msg",
            source=None if told.source is None else told.source.address,
            destination=None if told.destination is None else told.destination.address,
            units=told.value,
            bounce=told.bounce,
            bounced=told.bounced,
            op=op,
            comment=_comment(told) if op == COMMENT_OP else None,
        )

    async def discover_jettons(self, address: Address, *, since: datetime) -> Page:
        """See `JettonFeed.discover_jettons`. The master is named in the question and checked in every row."""
        began = self._clock.now()
        remarks: Counter[Ruling] = Counter()
        sightings: list[Sighting] = []
        trouble, before = f"more than {MOST_JETTON_PAGES} pages", None
        for number in range(MOST_JETTON_PAGES):
            try:
                rows = await self._jetton_page(address, before)
            except ChainUnavailable as error:
                if number == 0:
                    raise
                trouble = f"page {number + 1}: {error.detail}"
                break
            for row in rows:
                ruling = _rule_jetton(row, address)
                if row.utime < since or ruling is not Ruling.CREDIT:
                    remarks.update([] if row.utime < since else [ruling])
                    continue
                sightings.append(
                    Sighting(self.provider, row.transaction_hash, TxState.FINAL, (_jettons(row, address),), began)
                )
            if not rows or rows[-1].utime < since:
                trouble = ""
                break
            before = min(row.lt for row in rows)
        ordered = tuple(sorted(sightings, key=lambda one: one.transfers[0].block_time))
        if trouble:
            return IncompletePage(self.provider, address, since, ordered, trouble, dict(remarks))
        return CompletePage(self.provider, address, since, began, ordered, dict(remarks))

    async def _jetton_page(self, address: Address, before: int | None) -> list[_JettonOperation]:
        place = {} if before is None else {"before_lt": before}
        path = f"/v2/jettons/{USDT_TON_MASTER.raw_text}/accounts/{address.raw_text}/history"
        answer = await self._door.get(path, limit=PAGE_ROWS, **place)
        return [read_shape(_JettonOperation, row, self.provider) for row in self._rows(answer, "operations")]

    async def head(self) -> Head:
        """See `ChainProvider.head`."""
        block = read_shape(_Block, await self._door.get("/v2/blockchain/masterchain-head"), self.provider)
        return Head(self.provider, block.seqno, block.gen_utime)


def _nodes(trace: dict[str, Any]) -> Iterator[tuple[Any, bool]]:
    """Yield a trace's transactions, each with whether it is only a forecast."""
    waiting = [trace]
    while waiting:
        node = waiting.pop()
        yield node.get("transaction"), node.get("emulated") is True
        children = node.get("children", [])
        waiting += [child for child in children if isinstance(child, dict)] if isinstance(children, list) else []


def _comment(told: _Message) -> str | None:
    if told.decoded_op_name == "text_comment" and isinstance(told.decoded_body, dict):
        text = told.decoded_body.get("text")
        if isinstance(text, str):
            return text
    try:
        return comment_in(bytes.fromhex(told.raw_body or ""))
    except ValueError:
        return None


def _rule_jetton(row: _JettonOperation, ours: Address) -> Ruling:
    if row.jetton.address != USDT_TON_MASTER:
        return Ruling.FAKE_TOKEN
    if row.operation != "transfer":
        return Ruling.NOT_A_TRANSFER
    if row.destination is None or row.destination.address != ours:
        return Ruling.OUTGOING
    if row.source is not None and row.source.address == ours:
        return Ruling.OUTGOING
    return Ruling.CREDIT if 0 < row.amount <= MOST_UNITS else Ruling.WORTHLESS


def _jettons(row: _JettonOperation, ours: Address) -> Transfer:
    return Transfer(
        chain=Chain.TON,
        tx=row.transaction_hash,
        event_index=0,
        asset=Asset.USDT_TON,
        sender=None if row.source is None else row.source.address,
        receiver=ours,
        units=row.amount,
        position=row.lt,
        block_time=row.utime,
        memo=_payload_text(row.payload),
    )


def _payload_text(payload: Any) -> str | None:
    """Return the comment in a forwarded payload of any shape; None where there is none to be read."""
    for step in ("Value", "Text"):
        payload = payload.get(step) if isinstance(payload, dict) else None
    return payload if isinstance(payload, str) else None
