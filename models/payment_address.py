"""Addresses and transaction hashes as bytes, so that no two spellings of one thing are ever two things."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from models.errors import PaymentInvalid


class Chain(StrEnum):
    """A ledger that we watch."""

    TRON = "tron"
    TON = "ton"


BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
TRON_VERSION = 0x41
TRON_BYTES = 21
TRON_TEXT_LENGTH = 34
TON_FRIENDLY_BYTES = 36
TON_FRIENDLY_LENGTH = 48
TON_BOUNCEABLE = 0x11
TON_NOT_BOUNCEABLE = 0x51
TON_TEST_ONLY = 0x80
TON_BASECHAIN = 0
HASH_BYTES = 32

_HEX_HASH = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")
_BASE64_HASH = re.compile(r"[A-Za-z0-9+/_-]{43}=?")
_RAW_TON = re.compile(r"(-?[0-9]{1,3}):([0-9a-fA-F]{64})")
_TRON_HEX = re.compile(r"(?:0x)?(41[0-9a-fA-F]{40})")


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An account on one chain.

    Attributes:
        chain: Which ledger. TRON's test networks share its version byte; only the provider's URL tells them apart.
        raw: TRON: 21 bytes, 0x41 first. TON: one signed byte of workchain, then the 32 bytes of the account.
    """

    chain: Chain
    raw: bytes

    def __str__(self) -> str:
        """Return the form people paste: base58check on TRON, non-bounceable base64url (UQ...) on TON."""
        if self.chain is Chain.TRON:
            return _to_base58(self.raw + _double_sha256(self.raw)[:4])
        body = bytes([TON_NOT_BOUNCEABLE]) + self.raw
        return base64.urlsafe_b64encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "big")).decode()

    @property
    def raw_text(self) -> str:
        """Return the form that APIs print: 42 hex digits on TRON, `workchain:hex` in lower case on TON."""
        if self.chain is Chain.TRON:
            return self.raw.hex()
        return f"{int.from_bytes(self.raw[:1], 'big', signed=True)}:{self.raw[1:].hex()}"

    @property
    def evm(self) -> bytes:
        """Return the 20 bytes that TRON's logs print, without the version byte."""
        return self.raw[1:]


def tron_from_evm(account: bytes) -> Address:
    """Return the TRON address of the 20 bytes found in a log; PaymentInvalid for any other length."""
    if len(account) != TRON_BYTES - 1:
        raise PaymentInvalid("a TRON log's address", "it must have 20 bytes")
    return Address(Chain.TRON, bytes([TRON_VERSION]) + account)


def parse_address(text: str, chain: Chain) -> Address:
    """Read an address in any spelling its chain knows.

    Args:
        text: TRON: base58check or 42 hex digits. TON: raw `0:hex` in either case, or 48 characters of either base64
            alphabet, bounceable or not.
        chain: Which chain it must belong to.

    Raises:
        PaymentInvalid: wrong checksum, version, length or alphabet, or a TON address marked for the test network.
    """
    return _parse_tron(text) if chain is Chain.TRON else _parse_ton(text)


def parse_deposit_address(text: str, chain: Chain) -> Address:
    """Read an address that customers shall pay to: as `parse_address`, and on TON only in the basechain.

    Raises:
        PaymentInvalid: as `parse_address`, or a masterchain account, where every transfer costs its payer more.
    """
    address = parse_address(text, chain)
    if chain is Chain.TON and address.raw[0] != TON_BASECHAIN:
        raise PaymentInvalid("the deposit address", "take a wallet in TON's workchain 0")
    return address


def parse_tx_hash(text: str, chain: Chain) -> bytes:
    """Read a transaction hash as a person pastes it: hex in any case, with 0x, with spaces, or inside one link.

    A link is only searched for its hash; nobody ever opens it. TON's hashes may also be base64.

    Returns:
        32 bytes.

    Raises:
        PaymentInvalid: no hash, more than one, or one of another length.
    """
    trimmed = text.strip().removeprefix("0x").removeprefix("0X")
    found = {match.lower() for match in _HEX_HASH.findall(trimmed)}
    if len(found) == 1:
        return bytes.fromhex(found.pop())
    if not found and chain is Chain.TON and _BASE64_HASH.fullmatch(trimmed):
        return hash_from_base64(trimmed)
    raise PaymentInvalid("the transaction hash", "paste the one hash of 64 hex digits that the wallet shows")


def hash_from_base64(text: str) -> bytes:
    """Read 32 bytes from either base64 alphabet, padded or not; PaymentInvalid for anything else."""
    try:
        decoded = base64.b64decode(_standard_alphabet(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PaymentInvalid("the transaction hash", "it is not base64") from error
    if len(decoded) != HASH_BYTES:
        raise PaymentInvalid("the transaction hash", "it must have 32 bytes")
    return decoded


def _standard_alphabet(text: str) -> str:
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    return plain + "=" * (-len(plain) % 4)


def _double_sha256(body: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(body).digest()).digest()


def _to_base58(body: bytes) -> str:
    number, digits = int.from_bytes(body, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return "1" * (len(body) - len(body.lstrip(b"\0"))) + digits


def _parse_tron(text: str) -> Address:
    if match := _TRON_HEX.fullmatch(text):
        return Address(Chain.TRON, bytes.fromhex(match[1]))
    if len(text) != TRON_TEXT_LENGTH or any(letter not in BASE58 for letter in text):
        raise PaymentInvalid("the TRON address", "it has 34 letters and digits and begins with T")
    number = 0
    for letter in text:
        number = number * 58 + BASE58.index(letter)
    body = number.to_bytes(TRON_BYTES + 4, "big")  # 34 digits of base 58 are less than 200 bits: it always fits
    raw, checksum = body[:TRON_BYTES], body[TRON_BYTES:]
    if raw[0] != TRON_VERSION or _double_sha256(raw)[:4] != checksum:
        raise PaymentInvalid("the TRON address", "its checksum is wrong; upper and lower case matter")
    return Address(Chain.TRON, raw)


def _parse_ton(text: str) -> Address:
    if match := _RAW_TON.fullmatch(text):
        return _ton(int(match[1]), bytes.fromhex(match[2]))
    if len(text) != TON_FRIENDLY_LENGTH:
        raise PaymentInvalid("the TON address", "it has 48 characters, or is 0: and 64 hex digits")
    try:
        body = base64.b64decode(_standard_alphabet(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PaymentInvalid("the TON address", "it is not base64") from error
    if len(body) != TON_FRIENDLY_BYTES or binascii.crc_hqx(body[:-2], 0) != int.from_bytes(body[-2:], "big"):
        raise PaymentInvalid("the TON address", "its checksum is wrong; upper and lower case matter")
    if body[0] & TON_TEST_ONLY:
        raise PaymentInvalid("the TON address", "it is marked for the test network")
    if body[0] not in {TON_BOUNCEABLE, TON_NOT_BOUNCEABLE}:
        raise PaymentInvalid("the TON address", "its first byte is no address tag")
    return _ton(int.from_bytes(body[1:2], "big", signed=True), body[2:-2])


def _ton(workchain: int, account: bytes) -> Address:
    if workchain not in {TON_BASECHAIN, -1}:
        raise PaymentInvalid("the TON address", "only workchains 0 and -1 exist")
    return Address(Chain.TON, workchain.to_bytes(1, "big", signed=True) + account)
