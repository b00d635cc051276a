"""What a settled order earns, who may use it, and from which addresses. Pure.

A licence's text and signature are in `infra/licences.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address

from models.errors import LicenceRefused, PaymentInvalid
from models.ledger import Admission, IssuedLicence, Message, MessageKind, Sale


def earned_by(sale: Sale, *, now: datetime) -> IssuedLicence:
    """Return the licence that a sale earns; whole seconds, because that is what its text can say.

    It is named after the order, so that an order earns one however often this is asked.
    """
    issued_at = now.replace(microsecond=0)
    return IssuedLicence(
        id=f"lic-{sale.order.id}",
        order=sale.order.id,
        plan=sale.plan.name,
        devices=sale.plan.devices,
        issued_at=issued_at,
        expires_at=issued_at + timedelta(days=sale.plan.days),
    )


def announcement(sale: Sale, licence: IssuedLicence, *, now: datetime) -> Message:
    """Return the message that hands the licence over; whoever delivers it makes the text again from the ledger."""
    return Message(
        key=f"licence:{sale.order.id}",
        kind=MessageKind.LICENCE,
        to=sale.buyer,
        order=sale.order.id,
        facts={
            "licence": licence.id,
            "plan": licence.plan,
            "devices": licence.devices,
            "expires_at": licence.expires_at.isoformat(),
            "language": sale.language.value,
        },
        written_at=now,
    )


def canonical_address(text: str) -> str:
    """Return the one spelling of a client's address.

    Raises:
        PaymentInvalid: it is no single address that a client can have.
    """
    mend = "give one IPv4 or IPv6 address of the client, such as 10.45.0.2"
    try:
        address = ip_address(text.strip())
    except ValueError as error:
        raise PaymentInvalid("the address", mend) from error
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise PaymentInvalid("the address", mend)
        address = address.ipv4_mapped or address
    # An address that means many hosts, none, or another host on every link would open the gate to strangers.
    if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local:
        raise PaymentInvalid("the address", mend)
    if str(address) == "255.255.255.255":
        raise PaymentInvalid("the address", mend)
    return str(address)


def require_usable(licence: IssuedLicence, *, now: datetime) -> None:
    """Refuse a licence that is over.

    Raises:
        LicenceRefused: it was taken back, or it has expired.
    """
    if licence.revoked_at is not None:
        raise LicenceRefused(licence.id, f"it was taken back on {licence.revoked_at:%d %b %Y %H:%M} UTC")
    if now >= licence.expires_at:
        raise LicenceRefused(licence.id, f"it expired on {licence.expires_at:%d %b %Y %H:%M} UTC")


def admit(
    licence: IssuedLicence, address: str, standing: Collection[Admission], *, mesh: str, node: str, now: datetime
) -> Admission:
    """Decide that a licence lets an address through a gateway node.

    Args:
        licence: As the ledger keeps it.
        address: Canonical.
        standing: The licence's admissions that were not closed; those that ran out do not count.
        mesh: Whose gateway.
        node: The gateway node.
        now: Aware UTC.

    Raises:
        LicenceRefused: it is over, or it admits as many other addresses as its plan allows.
    """
    require_usable(licence, now=now)
    others = sorted({one.address for one in standing if one.until > now and one.address != address})
    if len(others) >= licence.devices:
        places = "address" if licence.devices == 1 else "addresses"
        raise LicenceRefused(
            licence.id, f"it admits {licence.devices} {places} at once ({', '.join(others)}); release one first"
        )
    return Admission(licence=licence.id, mesh=mesh, node=node, address=address, until=licence.expires_at)
