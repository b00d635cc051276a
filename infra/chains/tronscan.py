"""TronScan: tells transfers within seconds, without log indices; the first to see a payment.

Source: the service's documentation and answers captured in 2026. A page holds 50 rows whatever limit was asked, `total`
means nothing, time bounds are floored to seconds and inclusive, and beyond offset 10,000 it refuses.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from infra.chains.door import Door
from infra.chains.shapes import HexHash, Millis, Shape, TronAddress, Whole, read_shape
from infra.chains.tronscan_pages import TronScanPages
from models.errors import ChainAnswerInvalid, PaymentInvalid
from models.payment import MOST_UNITS, Asset, Provider, Transfer
from models.payment_address import Address, Chain, tron_from_evm
from models.payment_ports import CompletePage, Head, IncompletePage, Page, Proof
from models.payment_quorum import Sighting, TxState
from models.payment_rules import USDT_TRON_CONTRACT, Ruling, TronRow, rule_tron_results, rule_tron_row
from models.ports import Clock


class _Token(Shape):
    tokenId: TronAddress | None = None  # noqa: N815 - the provider's names, here and below
    tokenAbbr: str = ""  # noqa: N815
    tokenDecimal: int | None = None  # noqa: N815


class _Row(Shape):
    transaction_id: HexHash
    status: int | None = None
    block_ts: Millis
    from_address: TronAddress
    to_address: TronAddress
    block: Whole
    contract_address: TronAddress
    quant: str = Field(pattern=r"^[0-9]{1,30}$")
    event_type: str
    confirmed: bool
    contractRet: str  # noqa: N815
    finalResult: str | None = None  # noqa: N815
    tokenInfo: _Token = _Token()  # noqa: N815
    revert: bool = False
    contract_type: str | None = None


class _Listed(Shape):
    contract_address: TronAddress
    from_address: TronAddress
    to_address: TronAddress
    amount_str: str = Field(pattern=r"^[0-9]{1,78}$")


class _Transaction(Shape):
    hash: HexHash
    contractRet: str | None = None  # noqa: N815
    confirmed: bool
    revert: bool = False
    block: Whole
    timestamp: Millis
    transfersAllList: list[dict[str, Any]] | None = None  # noqa: N815


class _EventResult(Shape):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, populate_by_name=True)

    sender: str = Field(alias="from")
    to: str
    value: Whole


class _Event(Shape):
    transaction_id: HexHash
    contract_address: TronAddress
    event_index: int = Field(ge=0)
    event_name: str
    result: dict[str, Any]


class _Block(Shape):
    number: Whole
    timestamp: Millis


class TronScan:
    """TronScan as a `ChainProvider`."""

    def __init__(self, door: Door, clock: Clock) -> None:
        self._door = door
        self._clock = clock

    @property
    def provider(self) -> Provider:
        """Return which one it is."""
        return Provider.TRONSCAN

    async def discover(self, address: Address, *, since: datetime) -> Page:
        """See `ChainProvider.discover`; transfers have no event index yet."""
        began = self._clock.now()
        reading = await TronScanPages(self._door, address, since).read()
        remarks: Counter[Ruling] = Counter()
        ruled: dict[bytes, list[tuple[Ruling, TronRow]]] = {}
        trouble = reading.trouble
        for raw in reading.rows:
            if raw.get("contract_address") != str(USDT_TRON_CONTRACT):  # another token's row may look like anything
                remarks[_foreign(raw)] += 1
                continue
            try:
                row = _row_of(read_shape(_Row, raw, self.provider))
            except ChainAnswerInvalid as error:
                remarks[Ruling.DRIFT] += 1
                trouble = trouble or error.detail
                continue
            ruling = rule_tron_row(row, address)
            if ruling in {Ruling.CREDIT, Ruling.WAIT}:
                ruled.setdefault(row.tx, []).append((ruling, row))
            else:
                remarks[ruling] += 1
            if ruling is Ruling.DRIFT:
                trouble = trouble or f"a row of {row.tx.hex()} is not what its contract says"
        sightings = tuple(
            sorted(
                (self._sighting(rows, began) for rows in ruled.values()), key=lambda one: one.transfers[0].block_time
            )
        )
        if trouble:
            return IncompletePage(self.provider, address, since, sightings, trouble, dict(remarks))
        return CompletePage(self.provider, address, since, began, sightings, dict(remarks))

    def _sighting(self, rows: list[tuple[Ruling, TronRow]], seen_at: datetime) -> Sighting:
        final = all(ruling is Ruling.CREDIT for ruling, _ in rows)
        transfers = tuple(
            Transfer(
                chain=Chain.TRON,
                tx=row.tx,
                event_index=None,
                asset=Asset.USDT_TRON,
                sender=row.sender,
                receiver=row.receiver,
                units=row.units,
                position=row.block,
                block_time=row.block_time,
            )
            for _, row in rows
        )
        return Sighting(self.provider, rows[0][1].tx, TxState.FINAL if final else TxState.PENDING, transfers, seen_at)

    async def prove(self, tx: bytes, *, address: Address) -> Proof:
        """See `ChainProvider.prove`. The list of attempted transfers of a failed call is never believed."""
        seen_at = self._clock.now()
        answer = await self._door.get("/api/transaction-info", hash=tx.hex())
        if not answer:
            return Proof(self.provider, tx, TxState.UNKNOWN, ())
        told = read_shape(_Transaction, answer, self.provider)
        if told.hash != tx:
            raise ChainAnswerInvalid(self.provider, "it answers for another transaction")
        ruling = rule_tron_results((told.contractRet, "REVERT" if told.revert else None), confirmed=told.confirmed)
        if ruling is Ruling.FAILED:
            return self._proof(tx, TxState.FAILED, (), seen_at, told.timestamp)
        if told.contractRet != "SUCCESS" or told.revert:
            remarks = {Ruling.DRIFT: 1} if ruling is Ruling.DRIFT else {}
            return replace(self._proof(tx, TxState.PENDING, (), seen_at, told.timestamp), remarks=remarks)
        listed = None if told.transfersAllList is None else self._listed(told, address)
        if not told.confirmed:
            return self._proof(tx, TxState.PENDING, listed or (), seen_at, told.timestamp)
        numbered = await self._numbered(told, address)
        if (not numbered) if listed is None else (_amounts(listed) != _amounts(numbered)):
            # Its event index lags, or it is an answer of the old shape that lists nothing to compare with.
            behind = self._proof(tx, TxState.PENDING, listed or (), seen_at, told.timestamp)
            return replace(behind, remarks={Ruling.DRIFT: 1})
        return self._proof(tx, TxState.FINAL, numbered, seen_at, told.timestamp)

    def _proof(
        self, tx: bytes, state: TxState, transfers: tuple[Transfer, ...], seen_at: datetime, block_time: datetime
    ) -> Proof:
        sighting = Sighting(self.provider, tx, state, transfers, seen_at)
        return Proof(self.provider, tx, state, (sighting,), block_time)

    def _listed(self, told: _Transaction, address: Address) -> tuple[Transfer, ...]:
        """Return the transfers that were carried out, without indices; other tokens' rows need not be well-formed."""
        rows = [
            read_shape(_Listed, row, self.provider)
            for row in told.transfersAllList or ()
            if row.get("contract_address") == str(USDT_TRON_CONTRACT)
        ]
        return tuple(
            self._transfer(told, None, row.from_address, int(row.amount_str), address)
            for row in rows
            if _pays(row.from_address, row.to_address, int(row.amount_str), address)
        )

    async def _numbered(self, told: _Transaction, address: Address) -> tuple[Transfer, ...]:
        """Return the transfers with the indices of their logs, from the one endpoint of TronScan that tells them."""
        path = "/api/contracts/smart-contract-triggers-batch"
        answer = await self._door.post(path, {"hashList": [told.hash.hex()]})
        rows = answer.get("event_list")
        if not isinstance(rows, list):
            raise ChainAnswerInvalid(self.provider, "its events hold no event_list")
        found: dict[int, Transfer] = {}
        for row in rows:
            event = read_shape(_Event, row, self.provider)
            if (event.transaction_id, event.contract_address) != (told.hash, USDT_TRON_CONTRACT):
                continue
            if event.event_name != "Transfer":
                continue
            result = read_shape(_EventResult, event.result, self.provider)
            sender, receiver = self._evm(result.sender), self._evm(result.to)
            if _pays(sender, receiver, result.value, address):
                found[event.event_index] = self._transfer(told, event.event_index, sender, result.value, address)
        return tuple(found[index] for index in sorted(found))

    def _evm(self, text: str) -> Address:
        try:
            return tron_from_evm(bytes.fromhex(text.removeprefix("0x")))
        except (ValueError, PaymentInvalid) as error:
            raise ChainAnswerInvalid(self.provider, "an event's address is not 20 bytes of hex") from error

    def _transfer(
        self, told: _Transaction, index: int | None, sender: Address, units: int, address: Address
    ) -> Transfer:
        return Transfer(
            chain=Chain.TRON,
            tx=told.hash,
            event_index=index,
            asset=Asset.USDT_TRON,
            sender=sender,
            receiver=address,
            units=units,
            position=told.block,
            block_time=told.timestamp,
        )

    async def head(self) -> Head:
        """See `ChainProvider.head`."""
        answer = await self._door.get("/api/block", sort="-number", limit=1, start=0)
        rows = answer.get("data")
        if not isinstance(rows, list) or not rows:
            raise ChainAnswerInvalid(self.provider, "it names no newest block")
        block = read_shape(_Block, rows[0], self.provider)
        return Head(self.provider, block.number, block.timestamp)


def _foreign(raw: dict[str, Any]) -> Ruling:
    token = raw.get("tokenInfo")
    symbol = str(token.get("tokenAbbr", "")) if isinstance(token, dict) else ""
    return Ruling.FAKE_TOKEN if "USDT" in symbol.upper() else Ruling.OTHER_TOKEN


def _row_of(row: _Row) -> TronRow:
    return TronRow(
        tx=row.transaction_id,
        contract=row.contract_address,
        token_id=row.tokenInfo.tokenId,
        symbol=row.tokenInfo.tokenAbbr,
        decimals=row.tokenInfo.tokenDecimal,
        event=row.event_type,
        contract_type=row.contract_type,
        status=row.status,
        contract_result=row.contractRet,
        final_result=row.finalResult,
        revert=row.revert,
        confirmed=row.confirmed,
        sender=row.from_address,
        receiver=row.to_address,
        units=int(row.quant),
        block=row.block,
        block_time=row.block_ts,
    )


def _pays(sender: Address, receiver: Address, units: int, ours: Address) -> bool:
    return receiver == ours and sender != ours and 0 < units <= MOST_UNITS


def _amounts(transfers: tuple[Transfer, ...]) -> Counter[int]:
    return Counter(transfer.units for transfer in transfers)
