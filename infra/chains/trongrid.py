"""TronGrid: full nodes' own receipts, with logs; the one that proves.

Source: the service's documentation. A feed row has no status, block or log index, so only receipts number a transfer. A
solid receipt never changes; the head's may (it has said REVERT of calls that went well). A plain TRX transfer has no
`receipt.result`; a contract call without one is no success.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from pydantic import Field

from infra.chains.door import Door
from infra.chains.shapes import HexBytes, HexHash, Millis, Shape, TronAddress, Whole, read_shape
from models.errors import ChainAnswerInvalid, ChainUnavailable
from models.payment import MOST_UNITS, Asset, Provider, Transfer
from models.payment_address import Address, Chain
from models.payment_ports import CompletePage, Head, IncompletePage, Page, Proof
from models.payment_quorum import Sighting, TxState
from models.payment_rules import (
    USDT_TRON_CONTRACT,
    Ruling,
    TronLog,
    TronReceipt,
    rule_tron_results,
    transfers_in,
)
from models.ports import Clock

PAGE_ROWS = 200
"""TronGrid's own maximum."""

MOST_PAGES = 100
"""20,000 transfers, as with TronScan."""


class _Token(Shape):
    address: TronAddress
    decimals: int


class _Row(Shape):
    transaction_id: HexHash
    token_info: _Token
    block_timestamp: Millis
    sender: TronAddress = Field(alias="from")
    to: TronAddress
    type: str
    value: str = Field(pattern=r"^[0-9]{1,30}$")


class _Meta(Shape):
    fingerprint: str | None = None


class _Log(Shape):
    address: HexBytes
    topics: list[HexBytes] = Field(default_factory=list)
    data: HexBytes = b""


class _Result(Shape):
    result: str | None = None


class _Receipt(Shape):
    id: HexHash
    blockNumber: Whole | None = None  # noqa: N815 - the provider's names, here and below
    blockTimeStamp: Millis | None = None  # noqa: N815
    contract_address: str | None = None
    receipt: _Result
    result: str | None = None
    log: list[_Log] = Field(default_factory=list)


class _Raw(Shape):
    number: Whole
    timestamp: Millis


class _Header(Shape):
    raw_data: _Raw


class _Block(Shape):
    block_header: _Header


class TronGrid:
    """TronGrid as a `ChainProvider`."""

    def __init__(self, door: Door, clock: Clock) -> None:
        self._door = door
        self._clock = clock

    @property
    def provider(self) -> Provider:
        """Return which one it is."""
        return Provider.TRONGRID

    async def discover(self, address: Address, *, since: datetime) -> Page:
        """See `ChainProvider.discover`; only solid transfers, without event index or height."""
        began = self._clock.now()
        rows, trouble = await self._rows(address, since)
        remarks: Counter[Ruling] = Counter()
        found: dict[bytes, list[Transfer]] = {}
        for raw in rows:
            try:
                row = read_shape(_Row, raw, self.provider)
            except ChainAnswerInvalid as error:
                remarks[Ruling.DRIFT] += 1
                trouble = trouble or error.detail
                continue
            ruling = _rule(row, address)
            if ruling is Ruling.CREDIT:
                found.setdefault(row.transaction_id, []).append(_transfer(row))
            else:
                remarks[ruling] += 1
            if ruling is Ruling.DRIFT:
                trouble = trouble or f"a row of {row.transaction_id.hex()} has other decimals than USDT"
        sightings = tuple(
            Sighting(self.provider, tx, TxState.FINAL, tuple(transfers), began)
            for tx, transfers in sorted(found.items(), key=lambda item: item[1][0].block_time)
        )
        if trouble:
            return IncompletePage(self.provider, address, since, sightings, trouble, dict(remarks))
        return CompletePage(self.provider, address, since, began, sightings, dict(remarks))

    async def _rows(self, address: Address, since: datetime) -> tuple[list[dict[str, Any]], str]:
        """Read all pages by fingerprint, with the same filters; the links in the answer are never followed."""
        rows: list[dict[str, Any]] = []
        fingerprint: str | None = None
        for number in range(MOST_PAGES):
            try:
                page, following = await self._page(address, since, fingerprint)
            except ChainUnavailable as error:
                if number == 0:
                    raise
                return rows, f"page {number + 1}: {error.detail}"
            rows += page
            if following is None:
                return rows, ""
            if following == fingerprint:
                return rows, "its next page is the same again"
            fingerprint = following
        return rows, f"more than {MOST_PAGES} pages"

    async def _page(
        self, address: Address, since: datetime, fingerprint: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        place = {} if fingerprint is None else {"fingerprint": fingerprint}
        answer = await self._door.get(
            f"/v1/accounts/{address}/transactions/trc20",
            only_confirmed="true",
            only_to="true",
            contract_address=str(USDT_TRON_CONTRACT),
            min_timestamp=int(since.timestamp()) * 1000,
            order_by="block_timestamp,desc",
            limit=PAGE_ROWS,
            **place,
        )
        rows = answer.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ChainAnswerInvalid(self.provider, "its feed holds no data")
        return rows, read_shape(_Meta, answer.get("meta", {}), self.provider).fingerprint

    async def prove(self, tx: bytes, *, address: Address) -> Proof:
        """See `ChainProvider.prove`; asks the head only when the solid chain does not know it yet."""
        seen_at = self._clock.now()
        solid = await self._receipt("/walletsolidity/gettransactioninfobyid", tx)
        if solid is not None:
            return self._proof(solid, seen_at, address, solid=True)
        head = await self._receipt("/wallet/gettransactioninfobyid", tx)
        if head is None:
            return Proof(self.provider, tx, TxState.UNKNOWN, ())
        return self._proof(head, seen_at, address, solid=False)

    async def _receipt(self, path: str, tx: bytes) -> _Receipt | None:
        answer = await self._door.post(path, {"value": tx.hex()})
        if not answer:
            return None
        receipt = read_shape(_Receipt, answer, self.provider)
        if receipt.id != tx:
            raise ChainAnswerInvalid(self.provider, "it answers for another transaction")
        return receipt

    def _proof(self, told: _Receipt, seen_at: datetime, address: Address, *, solid: bool) -> Proof:
        ran_contract = told.contract_address is not None or bool(told.log)
        # "FAILED" above the receipt is absent on success; on plain TRX transfers nothing is said and nothing failed.
        words = (told.receipt.result if ran_contract else told.receipt.result or "SUCCESS", told.result)
        ruling = rule_tron_results(words, confirmed=solid)
        transfers: tuple[Transfer, ...] = ()
        if ruling in {Ruling.CREDIT, Ruling.WAIT} and set(words) <= {"SUCCESS", None}:
            transfers = transfers_in(self._facts(told, ran_contract=ran_contract), address)
        state = {Ruling.CREDIT: TxState.FINAL, Ruling.FAILED: TxState.FAILED}.get(ruling, TxState.PENDING)
        remarks = {Ruling.DRIFT: 1} if ruling is Ruling.DRIFT else {}
        sighting = Sighting(self.provider, told.id, state, transfers, seen_at)
        return Proof(self.provider, told.id, state, (sighting,), told.blockTimeStamp, remarks)

    def _facts(self, told: _Receipt, *, ran_contract: bool) -> TronReceipt:
        if told.blockNumber is None or told.blockTimeStamp is None:
            raise ChainAnswerInvalid(self.provider, "a successful receipt names no block")
        return TronReceipt(
            tx=told.id,
            block=told.blockNumber,
            block_time=told.blockTimeStamp,
            result=told.receipt.result,
            ran_contract=ran_contract,
            logs=tuple(TronLog(log.address, tuple(log.topics), log.data) for log in told.log),
        )

    async def head(self) -> Head:
        """See `ChainProvider.head`; the solid chain's, since only solid transfers are told."""
        answer = await self._door.post("/walletsolidity/getnowblock", {})
        raw = read_shape(_Block, answer, self.provider).block_header.raw_data
        return Head(self.provider, raw.number, raw.timestamp)


def _rule(row: _Row, ours: Address) -> Ruling:
    if row.token_info.address != USDT_TRON_CONTRACT:
        return Ruling.OTHER_TOKEN
    if row.token_info.decimals != Asset.USDT_TRON.decimals:
        return Ruling.DRIFT
    if row.type != "Transfer":
        return Ruling.NOT_A_TRANSFER
    if row.to != ours or row.sender == ours:
        return Ruling.OUTGOING
    return Ruling.CREDIT if 0 < int(row.value) <= MOST_UNITS else Ruling.WORTHLESS


def _transfer(row: _Row) -> Transfer:
    return Transfer(
        chain=Chain.TRON,
        tx=row.transaction_id,
        event_index=None,
        asset=Asset.USDT_TRON,
        sender=row.sender,
        receiver=row.to,
        units=int(row.value),
        position=0,
        block_time=row.block_timestamp,
    )
