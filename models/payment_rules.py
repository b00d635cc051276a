"""Is it a payment at all: the crediting rules over what a chain's APIs say, one typed fact at a time.

Each rule answers with a `Ruling`; nothing here trusts a symbol, a decimals field, a page's total or a `success` flag.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from models.payment import MOST_UNITS, Asset, Caution, Transfer
from models.payment_address import Address, Chain

USDT_TRON_CONTRACT = Address(Chain.TRON, bytes.fromhex("41a614f803b6fd780986a42c78ec9c7f77e6ded13c"))
"""Tether's contract on TRON (TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t)."""

USDT_TON_MASTER = Address(
    Chain.TON, bytes.fromhex("00b113a994b5024a16719f69139328eb759596c38a25f59028b146fecdc3621dfe")
)
"""Tether's jetton master on TON (EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs)."""

TRANSFER_TOPIC = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
"""keccak256 of Transfer(address,address,uint256)."""

SUCCESS = "SUCCESS"
TRON_FAILURES = frozenset(
    {
        "REVERT",
        "BAD_JUMP_DESTINATION",
        "OUT_OF_MEMORY",
        "PRECOMPILED_CONTRACT",
        "STACK_TOO_SMALL",
        "STACK_TOO_LARGE",
        "ILLEGAL_OPERATION",
        "STACK_OVERFLOW",
        "OUT_OF_ENERGY",
        "OUT_OF_TIME",
        "JVM_STACK_OVER_FLOW",
        "UNKNOWN",
        "TRANSFER_FAILED",
        "INVALID_CODE",
        "FAILED",
        "FAIL",
    }
)
"""Results that TRON's protocol calls a failure; any other word is news and credits nothing."""

COMMENT_OP = 0
ENCRYPTED_COMMENT_OP = 0x2167DA4B
TOKEN_OPS = frozenset(
    {
        0x7362D09C,  # jetton transfer_notification: anyone can send it
        0xD53276DB,  # excesses: our own gas coming back
        0x0F8A7EA5,  # jetton transfer
        0x178D4519,  # jetton internal_transfer
        0x595F07BC,  # jetton burn
        0x7BDD97DE,  # jetton burn_notification
        0x05138D91,  # NFT ownership_assigned
        0x5FCC3D14,  # NFT transfer
    }
)
"""Bodies that speak of a token (TEP-74, TEP-62): the coins they carry are gas, never a payment in TON."""


class Ruling(StrEnum):
    """What a rule says of one fact; also the remark that is counted when it is not a payment.

    CREDIT and WAIT concern money; DRIFT means the provider broke its contract (retry and alert); FROZEN_ACCOUNT comes
    beside a CREDIT and is an alert (our account may lose what it holds); the rest is nothing of ours and only counted.
    """

    CREDIT = "credit"
    WAIT = "wait"
    DRIFT = "drift"
    FAILED = "failed"
    FAKE_TOKEN = "fake_token"  # noqa: S105 - a kind of coin, no secret
    OTHER_TOKEN = "other_token"  # noqa: S105 - as above
    OUTGOING = "outgoing"
    WORTHLESS = "worthless"
    BOUNCED = "bounced"
    NOT_A_TRANSFER = "not_a_transfer"
    FROZEN_ACCOUNT = "frozen_account"
    TOKEN_NOTICE = "token_notice"  # noqa: S105 - as above


# --- TRON ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TronRow:
    """One row of TronScan's transfer feed. None: the field was not there (older rows lack the optional ones).

    Attributes:
        token_id: The contract once more, as the token block names it.
        decimals: What the provider believes; checked, never used.
    """

    tx: bytes
    contract: Address
    token_id: Address | None
    symbol: str
    decimals: int | None
    event: str
    contract_type: str | None
    status: int | None
    contract_result: str
    final_result: str | None
    revert: bool
    confirmed: bool
    sender: Address
    receiver: Address
    units: int
    block: int
    block_time: datetime


def rule_tron_row(row: TronRow, ours: Address) -> Ruling:
    """Judge a feed row for one deposit address.

    Returns:
        CREDIT: it happened and is confirmed. WAIT: it may yet. Anything else is no payment.
    """
    if row.contract != USDT_TRON_CONTRACT:
        return Ruling.FAKE_TOKEN if "USDT" in row.symbol.upper() else Ruling.OTHER_TOKEN
    if row.decimals not in {None, Asset.USDT_TRON.decimals} or row.token_id not in {None, USDT_TRON_CONTRACT}:
        return Ruling.DRIFT
    if row.event != "Transfer" or row.contract_type not in {None, "trc20"}:
        return Ruling.NOT_A_TRANSFER
    if row.receiver != ours or row.sender == ours:
        return Ruling.OUTGOING
    if not 0 < row.units <= MOST_UNITS:
        return Ruling.WORTHLESS
    reverted = "REVERT" if row.revert else None
    return rule_tron_results(
        (row.contract_result, row.final_result, reverted), confirmed=row.confirmed and row.status in {None, 0}
    )


def rule_tron_results(results: tuple[str | None, ...], *, confirmed: bool) -> Ruling:
    """Judge an execution by every result word that was given; None: not given.

    A failure word counts only once confirmed, because a head node may say REVERT while it still indexes; a word that
    TRON's protocol does not know waits and is an alert.
    """
    words = {word for word in results if word is not None}
    if not words or words - TRON_FAILURES - {SUCCESS}:
        return Ruling.DRIFT
    if not confirmed:
        return Ruling.WAIT
    return Ruling.CREDIT if words == {SUCCESS} else Ruling.FAILED


@dataclass(frozen=True, slots=True)
class TronLog:
    """One log of a receipt, as the chain wrote it: `address` has 20 bytes, without TRON's version byte."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class TronReceipt:
    """A receipt from a full node.

    Attributes:
        result: `receipt.result`; None on plain TRX transfers, which run no contract.
        ran_contract: The transaction called a contract, so that a missing result is no success.
        logs: In order; the place in this order is the event index.
    """

    tx: bytes
    block: int
    block_time: datetime
    result: str | None
    ran_contract: bool
    logs: tuple[TronLog, ...]


def transfers_in(receipt: TronReceipt, ours: Address) -> tuple[Transfer, ...]:
    """Decode the USDT transfers of a receipt that pay one deposit address, with their event indices.

    The logs decide, not the method that was called: a router, a relayer or a multicall pays just as well. Whether the
    receipt itself may be believed is `rule_tron_results`' business.
    """
    found = []
    for index, log in enumerate(receipt.logs):
        if log.address != USDT_TRON_CONTRACT.evm or len(log.data) != 32 or len(log.topics) != 3:  # noqa: PLR2004 - ABI
            continue
        signature, sender, receiver = log.topics
        units = int.from_bytes(log.data, "big")
        payer = Address(Chain.TRON, USDT_TRON_CONTRACT.raw[:1] + sender[-20:])
        if signature != TRANSFER_TOPIC or receiver[-20:] != ours.evm or payer == ours or not 0 < units <= MOST_UNITS:
            continue
        found.append(
            Transfer(
                chain=Chain.TRON,
                tx=receipt.tx,
                event_index=index,
                asset=Asset.USDT_TRON,
                sender=payer,
                receiver=ours,
                units=units,
                position=receipt.block,
                block_time=receipt.block_time,
            )
        )
    return tuple(found)


# --- TON -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TonMessage:
    """A message that came in. `op` is None for an empty body; `internal` False for one from outside the chain."""

    internal: bool
    source: Address | None
    destination: Address | None
    units: int
    bounce: bool
    bounced: bool
    op: int | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class TonTransaction:
    """One transaction of an account.

    Attributes:
        success: The provider's flag: about the computation, not about the money.
        action_failed: The action phase ran and failed; the value stays here all the same.
        bounce_phase: The value was sent back.
        credited: What the credit phase added; None when not told.
        returned_to: Who got value out of this transaction.
        final: It is in a masterchain block and not a forecast.
        previous: Hash of the account's transaction before it; None for the first one.
    """

    account: Address
    logical_time: int
    tx: bytes
    previous: bytes | None
    at: datetime
    ordinary: bool
    message: TonMessage | None
    success: bool
    action_failed: bool
    bounce_phase: bool
    credited: int | None
    returned_to: frozenset[Address]
    end_status: str
    final: bool


def rule_ton_transaction(transaction: TonTransaction, ours: Address) -> Ruling:
    """Judge a transaction for one deposit address.

    `success` is not "funds received": a message that may not bounce leaves its value even when the computation fails,
    and a bounce returns it even from a computation that went well.
    """
    message = transaction.message
    if not transaction.ordinary or message is None or not message.internal:
        return Ruling.NOT_A_TRANSFER
    if transaction.account != ours or message.destination != ours or message.source == ours:
        return Ruling.OUTGOING
    if message.op in TOKEN_OPS:
        return Ruling.TOKEN_NOTICE
    if _went_back(transaction, message):
        return Ruling.BOUNCED
    if not 0 < message.units <= MOST_UNITS:
        return Ruling.WORTHLESS
    return Ruling.CREDIT if transaction.final else Ruling.WAIT


def _went_back(transaction: TonTransaction, message: TonMessage) -> bool:
    """Tell whether the value left again, or is our own coming home."""
    if message.bounced or transaction.bounce_phase or message.source in transaction.returned_to:
        return True
    return not transaction.success and message.bounce


def transfer_of(transaction: TonTransaction, ours: Address) -> Transfer | None:
    """Return the transfer of TON in a transaction, or None when it is no payment. Not yet `final`: see the quorum."""
    message = transaction.message
    if message is None or rule_ton_transaction(transaction, ours) not in {Ruling.CREDIT, Ruling.WAIT}:
        return None
    caution = None
    if transaction.credited not in {None, message.units}:
        caution = Caution.CREDIT_DIFFERS
    elif message.op not in {None, COMMENT_OP, ENCRYPTED_COMMENT_OP} or (
        message.op == COMMENT_OP and message.comment is None
    ):
        caution = Caution.OPAQUE_BODY
    elif transaction.action_failed:
        caution = Caution.ACTION_FAILED
    return Transfer(
        chain=Chain.TON,
        tx=transaction.tx,
        event_index=0,
        asset=Asset.TON,
        sender=message.source,
        receiver=ours,
        units=message.units,
        position=transaction.logical_time,
        block_time=transaction.at,
        memo=message.comment,
        caution=caution,
    )
