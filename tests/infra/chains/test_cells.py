import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.chains.cells import comment_in, read_cells
from infra.lab.chains.ton_apis import text_cell


def bag(*cells: tuple[bytes, tuple[int, ...]], index: bool = False) -> bytes:
    parts = [bytes([len(targets), 2 * len(data)]) + data + bytes(targets) for data, targets in cells]
    total = sum(map(len, parts))
    head = bytes.fromhex("b5ee9c72") + bytes([0x81 if index else 1, 2, len(cells), 1, 0]) + total.to_bytes(2, "big")
    offsets = b"".join(sum(map(len, parts[: place + 1])).to_bytes(2, "big") for place in range(len(parts)))
    return head + b"\0" + (offsets if index else b"") + b"".join(parts)


@pytest.mark.parametrize("text", ["", "ord-7k2m9qab", "не спам", "😀"])
def test_a_comment_in_one_cell_is_read(text):
    assert comment_in(text_cell(text)) == text
    assert comment_in(bytes(4) + text.encode()) == text


@pytest.mark.parametrize("index", [True, False])
def test_a_long_comment_goes_on_in_its_references_even_through_a_letter(index):
    told = ("ж" * 400).encode()
    parts = [told[:123], told[123:250], told[250:377], told[377:504], told[504:631], told[631:758], told[758:]]
    cells = [(bytes(4) + parts[0], (1,))]
    cells += [(part, (place + 2,) if place + 2 < 7 else ()) for place, part in enumerate(parts[1:])]
    assert comment_in(bag(*cells, index=index)) == "ж" * 400


def test_other_bodies_hold_no_comment():
    assert comment_in(bag((bytes.fromhex("7362d09c") + bytes(20), ()))) is None
    assert comment_in(b"") is None
    assert comment_in(text_cell("hello")[:-2]) is None
    assert comment_in(bytes(4) + b"\xff") is None


def test_a_bag_that_refers_backwards_ends():
    with pytest.raises(ValueError, match="backwards"):
        read_cells(bag((bytes(4), (0,))))


@settings(max_examples=200)
@given(body=st.binary(max_size=60), cut=st.integers(0, 40))
def test_no_body_breaks_the_reader(body, cut):
    for told in (body, bytes.fromhex("b5ee9c72") + body, bag((bytes(4) + body[:60], (1,)), (body, ()))[:cut]):
        assert comment_in(told) is None or isinstance(comment_in(told), str)
