"""toncenter, API v3: a second index of TON, by other people; the one that proves.

Source: the service's OpenAPI of 2026 and captured answers. Hashes are base64, addresses raw and upper-case, numbers
strings. A transaction is on the chain once its masterchain block is named and it is not `emulated`.
"""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from datetime import datetime
from typing import Any

from pydantic import Field

from infra.chains.cells import comment_in
from infra.chains.door import Door
from infra.chains.shapes import Base64Hash, Seconds, Shape, TonAddress, Whole, read_shape
from infra.chains.ton_pages import page_of, read_back, remarks_on, sighting_of
from models.errors import ChainAnswerInvalid
from models.payment import Provider
from models.payment_address import Address
from models.payment_ports import Head, Page, Proof
from models.payment_quorum import TxState
from models.payment_rules import COMMENT_OP, TonMessage, TonTransaction
from models.ports import Clock

PAGE_ROWS = 100
"""A fifth of the body cap at the usual four kilobytes a transaction."""

_OK_EXIT_CODES = frozenset({0, 1})


class _Content(Shape):
    body: str | None = None
    decoded: dict[str, Any] | None = None


class _Message(Shape):
    source: TonAddress | None = None
    destination: TonAddress | None = None
    value: Whole | None = None
    opcode: str | int | None = None
    bounce: bool | None = None
    bounced: bool | None = None
    message_content: _Content | None = None


class _Credit(Shape):
    credit: Whole | None = None


class _Compute(Shape):
    skipped: bool = False
    reason: str | None = None
    exit_code: int | None = None


class _Action(Shape):
    success: bool = True


class _Description(Shape):
    type: str
    compute_ph: _Compute | None = None
    credit_ph: _Credit | None = None
    action: _Action | None = None
    bounce: dict[str, Any] | None = None


class _Transaction(Shape):
    account: TonAddress
    hash: Base64Hash
    lt: Whole
    now: Seconds
    mc_block_seqno: int | None = None
    prev_trans_hash: Base64Hash | None = None
    prev_trans_lt: Whole = 0
    end_status: str = "active"
    description: _Description
    in_msg: _Message | None = None
    out_msgs: list[_Message] = Field(default_factory=list)
    emulated: bool = False


class _OnAccount(Shape):
    account: TonAddress


class _Block(Shape):
    seqno: Whole
    gen_utime: Seconds


class _MasterchainInfo(Shape):
    last: _Block


class TonCenter:
    """toncenter as a `ChainProvider`."""

    def __init__(self, door: Door, clock: Clock) -> None:
        self._door = door
        self._clock = clock

    @property
    def provider(self) -> Provider:
        """Return which one it is."""
        return Provider.TONCENTER

    async def discover(self, address: Address, *, since: datetime) -> Page:
        """See `ChainProvider.discover`."""
        began = self._clock.now()

        async def read_page(before: int | None) -> list[TonTransaction]:
            place = {} if before is None else {"end_lt": before - 1}
            return await self._transactions(account=address.raw_text, limit=PAGE_ROWS, sort="desc", **place)

        reading = await read_back(read_page, since)
        return page_of(reading, self.provider, address, since=since, began=began)

    async def _transactions(self, path: str = "/api/v3/transactions", /, **query: str | int) -> list[TonTransaction]:
        rows = (await self._door.get(path, **query)).get("transactions")
        if not isinstance(rows, list):
            raise ChainAnswerInvalid(self.provider, "its answer holds no transactions")
        return [self._transaction(row) for row in rows]

    async def prove(self, tx: bytes, *, address: Address) -> Proof:
        """See `ChainProvider.prove`; also takes the hash of a message or of a trace's root, as wallets show them."""
        seen_at = self._clock.now()
        told = await self._transactions(hash=tx.hex(), limit=1)
        if not told:
            path = "/api/v3/transactionsByMessage"
            told = await self._transactions(path, msg_hash=tx.hex(), direction="in", limit=1)
        if not told:
            return Proof(self.provider, tx, TxState.UNKNOWN, ())
        first = told[0]
        found = told if first.account == address else await self._in_trace(first.tx, address)
        sightings = tuple(sighting_of(one, self.provider, address, seen_at=seen_at) for one in found)
        final = first.final and all(one.state is TxState.FINAL for one in sightings)
        remarks = Counter(remark for one in found for remark in remarks_on(one, address))
        state = TxState.FINAL if final else TxState.PENDING
        return Proof(self.provider, tx, state, sightings, first.at, dict(remarks))

    async def _in_trace(self, tx: bytes, address: Address) -> list[TonTransaction]:
        traces = (await self._door.get("/api/v3/traces", tx_hash=tx.hex(), limit=1)).get("traces")
        if not isinstance(traces, list):
            raise ChainAnswerInvalid(self.provider, "its answer holds no traces")
        rows = [
            row for trace in traces if isinstance(trace, dict) for row in (trace.get("transactions") or {}).values()
        ]
        told = [self._transaction(row) for row in rows if read_shape(_OnAccount, row, self.provider).account == address]
        return sorted(told, key=lambda one: one.logical_time)

    def _transaction(self, row: Any) -> TonTransaction:
        told = read_shape(_Transaction, row, self.provider)
        said = told.description
        return TonTransaction(
            account=told.account,
            logical_time=told.lt,
            tx=told.hash,
            previous=None if told.prev_trans_lt == 0 else told.prev_trans_hash,
            at=told.now,
            ordinary=said.type == "ord",
            message=None if told.in_msg is None else self._message(told.in_msg),
            success=_succeeded(said),
            action_failed=said.action is not None and not said.action.success,
            bounce_phase=said.bounce is not None,
            credited=None if said.credit_ph is None else said.credit_ph.credit,
            returned_to=frozenset(
                out.destination for out in told.out_msgs if out.destination is not None and (out.value or 0) > 0
            ),
            end_status=told.end_status,
            final=told.mc_block_seqno is not None and not told.emulated,
        )

    def _message(self, told: _Message) -> TonMessage:
        try:
            op = int(told.opcode, 16) if isinstance(told.opcode, str) else told.opcode
        except ValueError as error:
            raise ChainAnswerInvalid(self.provider, "an opcode is not hex") from error
        # As a signed number the upper half of the opcodes is negative in some answers.
        op = None if op is None else op % 2**32
        return TonMessage(
            internal=told.source is not None,
            source=told.source,
            destination=told.destination,
            units=told.value or 0,
            bounce=told.bounce is True,
            bounced=told.bounced is True,
            op=op,
            comment=_comment(told.message_content) if op == COMMENT_OP else None,
        )

    async def head(self) -> Head:
        """See `ChainProvider.head`."""
        last = read_shape(_MasterchainInfo, await self._door.get("/api/v3/masterchainInfo"), self.provider).last
        return Head(self.provider, last.seqno, last.gen_utime)


def _succeeded(said: _Description) -> bool:
    """Tell what tonapi calls `success`, from the phases, so that both providers speak of one thing."""
    if said.bounce is not None:
        return False
    compute, action = said.compute_ph, said.action
    if compute is not None and compute.skipped:
        return compute.reason in {"no_state", "cskip_no_state"}
    if compute is not None and compute.exit_code not in _OK_EXIT_CODES:
        return False
    return action is None or action.success


def _comment(content: _Content | None) -> str | None:
    if content is None:
        return None
    if content.decoded is not None and content.decoded.get("type") == "text_comment":
        text = content.decoded.get("comment")
        return text if isinstance(text, str) else None
    try:
        return comment_in(b64decode(content.body or "", validate=True))
    except ValueError:
        return None
