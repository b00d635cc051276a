"""Which addresses a client may have, and one spelling for each."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import PaymentInvalid
from models.licence import canonical_address


@pytest.mark.parametrize(
    ("given_text", "canonical"),
    [(" 10.45.0.2\n", "10.45.0.2"), ("FD45:0:0::2", "fd45::2"), ("::ffff:10.45.0.2", "10.45.0.2")],
)
def test_an_address_has_one_spelling(given_text: str, canonical: str):
    assert canonical_address(given_text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", "anna", "10.45.0.0/24", "10.45.0", "010.45.0.2", "1" * 5000),
        *("0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.1.1", "255.255.255.255", "::ffff:127.0.0.1"),
        *("::", "::1", "ff02::1", "fe80::1", "fe80::1%eth0", "fd45::2%eth0"),
    ],
)
def test_what_is_no_single_clients_address_is_refused(text: str):
    with pytest.raises(PaymentInvalid, match="one IPv4 or IPv6 address"):
        canonical_address(text)


@given(st.ip_addresses())
def test_whatever_is_taken_is_taken_again_as_it_is(address):
    try:
        canonical = canonical_address(str(address))
    except PaymentInvalid:
        return
    assert canonical_address(canonical) == canonical == str(ip_address(canonical))
