"""Reading a text comment out of a TON message body, when the provider did not.

Source: TON's bag-of-cells layout (tvm.pdf, 3.1) and TEP-74's text comment: 32 zero bits, then UTF-8, continued in the
first reference of each cell.
"""

from __future__ import annotations

from dataclasses import dataclass

MAGIC = bytes.fromhex("b5ee9c72")
COMMENT_PREFIX = bytes(4)
_HAS_INDEX = 0x80
_SIZE_BITS = 0x07
_EXOTIC = 0x08
_MOST_REFERENCES = 4


@dataclass(frozen=True, slots=True)
class Cell:
    """Whole bytes of a cell, and the numbers of the cells it refers to. `is_whole`: it held no odd bits."""

    data: bytes
    references: tuple[int, ...]
    is_whole: bool


def comment_in(body: bytes) -> str | None:
    """Return the text comment in a message body; None when it is another kind of body or no sound one.

    Args:
        body: A bag of cells with one root, or the bare bytes of a body of one cell.
    """
    try:
        cells = read_cells(body) if body.startswith(MAGIC) else [Cell(body, (), is_whole=True)]
        return _text(cells)
    except (ValueError, IndexError):
        return None


def read_cells(bag: bytes) -> list[Cell]:
    """Read a bag of cells, its one root first.

    Raises:
        ValueError: another layout, more or fewer roots, exotic cells, or references that go backwards.
        IndexError: it ends too soon.
    """
    size, width = bag[4] & _SIZE_BITS, bag[5]
    if not 1 <= size <= 4 or not 1 <= width <= 8:  # noqa: PLR2004 - the layout's own bounds
        raise ValueError("unknown sizes")
    place = 6

    def number(length: int) -> int:
        nonlocal place
        part = bag[place : place + length]
        if len(part) != length:
            raise IndexError("cut off")
        place += length
        return int.from_bytes(part, "big")

    count, roots, _absent, _total = number(size), number(size), number(size), number(width)
    if roots != 1 or number(size) != 0:
        raise ValueError("not one root at the front")
    if bag[4] & _HAS_INDEX:
        place += count * width
    cells = []
    for own in range(count):
        kind, length = number(1), number(1)
        references = kind & 0x07
        if kind & _EXOTIC or references > _MOST_REFERENCES:
            raise ValueError("an exotic cell")
        data = number((length + 1) // 2).to_bytes((length + 1) // 2, "big") if length else b""
        targets = tuple(number(size) for _ in range(references))
        if any(not own < target < count for target in targets):
            raise ValueError("a reference goes backwards")
        cells.append(Cell(data, targets, is_whole=length % 2 == 0))
    return cells


def _text(cells: list[Cell]) -> str | None:
    if not cells or not cells[0].is_whole or not cells[0].data.startswith(COMMENT_PREFIX):
        return None
    parts, cell = [cells[0].data[len(COMMENT_PREFIX) :]], cells[0]
    while cell.references:  # ends: references only go forward
        cell = cells[cell.references[0]]
        if not cell.is_whole:
            return None
        parts.append(cell.data)
    return b"".join(parts).decode()
