import base64
import binascii

import pytest

from models.errors import PaymentInvalid
from models.payment_address import Chain, parse_address, parse_deposit_address, parse_tx_hash, tron_from_evm
from models.payment_rules import USDT_TON_MASTER, USDT_TRON_CONTRACT

TETHER = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
TETHER_ON_TON = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"


def test_every_spelling_of_a_tron_address_is_the_same_bytes():
    spelled = [TETHER, "41a614f803b6fd780986a42c78ec9c7f77e6ded13c", "0x41A614F803B6FD780986A42C78EC9C7F77E6DED13C"]
    assert {parse_address(text, Chain.TRON) for text in spelled} == {USDT_TRON_CONTRACT}
    assert str(USDT_TRON_CONTRACT) == TETHER
    assert tron_from_evm(USDT_TRON_CONTRACT.evm) == USDT_TRON_CONTRACT


@pytest.mark.parametrize(
    "text",
    [
        TETHER[:-1] + "u",
        "t" + TETHER[1:],
        TETHER.lower(),
        TETHER + " ",
        " " + TETHER,
        "\u0422" + TETHER[1:],
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        "",
        "T",
        "41a614f8",
    ],
)
def test_a_tron_address_with_any_flaw_is_refused(text):
    with pytest.raises(PaymentInvalid):
        parse_address(text, Chain.TRON)


def test_every_spelling_of_a_ton_address_is_the_same_bytes():
    raw = "0:b113a994b5024a16719f69139328eb759596c38a25f59028b146fecdc3621dfe"
    not_bounceable = str(USDT_TON_MASTER)
    assert not_bounceable.startswith("UQ")
    spelled = [raw, raw.upper(), TETHER_ON_TON, not_bounceable, TETHER_ON_TON.replace("_", "/").replace("-", "+")]
    assert {parse_address(text, Chain.TON) for text in spelled} == {USDT_TON_MASTER}
    assert USDT_TON_MASTER.raw_text == raw


def flipped_tag(tag: int) -> str:
    body = bytearray(base64.urlsafe_b64decode(TETHER_ON_TON))
    body[0] = tag
    return base64.urlsafe_b64encode(body[:-2] + binascii.crc_hqx(bytes(body[:-2]), 0).to_bytes(2, "big")).decode()


@pytest.mark.parametrize("text", [flipped_tag(0x91), flipped_tag(0xD1), flipped_tag(0x12)])
def test_a_ton_address_for_the_test_network_or_of_no_known_kind_is_refused(text):
    with pytest.raises(PaymentInvalid):
        parse_address(text, Chain.TON)


@pytest.mark.parametrize("text", ["0:b113", "", "7:" + "0" * 64, TETHER_ON_TON[:-1] + "t", TETHER_ON_TON[:-1] + "é"])
def test_a_ton_address_with_any_flaw_is_refused(text):
    with pytest.raises(PaymentInvalid):
        parse_address(text, Chain.TON)


def test_a_masterchain_account_may_pay_but_is_never_a_deposit_address():
    text = "-1:" + "3" * 64
    assert parse_address(text, Chain.TON).raw_text == text
    with pytest.raises(PaymentInvalid, match="workchain 0"):
        parse_deposit_address(text, Chain.TON)


HASH = "e50b02fbce95ad43ff5d1f9457c37688788e8d94ba38631351689e818464b88d"


@pytest.mark.parametrize(
    "text",
    [HASH, HASH.upper(), f"0x{HASH}", f"  {HASH}\n", f"https://tronscan.org/#/transaction/{HASH}", f"{HASH} {HASH}"],
)
def test_a_hash_is_found_however_it_was_pasted(text):
    assert parse_tx_hash(text, Chain.TRON).hex() == HASH


@pytest.mark.parametrize(
    "text", [HASH[:-1], HASH + "0", "", f"{HASH} {HASH[::-1]}", "https://example.org/" + HASH[:60]]
)
def test_what_holds_no_one_hash_is_refused_before_anybody_is_asked(text):
    with pytest.raises(PaymentInvalid):
        parse_tx_hash(text, Chain.TRON)


def test_a_ton_hash_may_be_base64_of_either_alphabet():
    body = bytes(range(200, 232))
    for text in (base64.b64encode(body).decode(), base64.urlsafe_b64encode(body).decode().rstrip("=")):
        assert parse_tx_hash(text, Chain.TON) == body
    with pytest.raises(PaymentInvalid):
        parse_tx_hash(base64.b64encode(body).decode(), Chain.TRON)
