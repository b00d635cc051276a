"""Hashes and accounts that belong to a name, and the moment at which made-up chains begin."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from models.payment_address import Address, Chain

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def made_hash(name: object) -> bytes:
    """Return 32 bytes that belong to a name."""
    return hashlib.sha256(str(name).encode()).digest()


def account(chain: Chain, name: str) -> Address:
    """Return an address that belongs to a name."""
    if chain is Chain.TRON:
        return Address(chain, b"\x41" + made_hash(f"account {name}")[:20])
    return Address(chain, b"\x00" + made_hash(f"account {name}"))
