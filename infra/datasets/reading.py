"""Files of published sets: plain or .gz, and one sentence when they are not what they should be."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.errors import DatasetInvalid


def existing(path: Path) -> Path:
    """Return the file, or the same with `.gz` behind it.

    Raises:
        DatasetInvalid: there is neither.
    """
    for one in (path, path.with_name(path.name + ".gz")):
        if one.is_file():
            return one
    raise DatasetInvalid(str(path), "there is no such file, plain or .gz")


def lines(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV file.

    Raises:
        DatasetInvalid: it is missing, or no text.
    """
    found = existing(path)
    try:
        with gzip.open(found, "rt") if found.suffix == ".gz" else found.open() as file:
            yield from csv.reader(file)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetInvalid(str(found), f"it cannot be read ({error})") from error


def document(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DatasetInvalid: it is missing, or no JSON.
    """
    found = existing(path)
    try:
        return json.loads(gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes())
    except (OSError, EOFError, ValueError) as error:
        raise DatasetInvalid(str(found), f"it is no JSON ({error})") from error


def number(text: str, path: Path) -> float:
    """Return a cell as a number; NaN where it is empty or infinite, which no measurement is.

    Raises:
        DatasetInvalid: it is something else.
    """
    if not text.strip():
        return float("nan")
    try:
        value = float(text)
    except ValueError as error:
        raise DatasetInvalid(str(path), f"{text!r} is no number") from error
    return value if abs(value) != float("inf") else float("nan")


def in_order(folders: Iterator[Path]) -> list[Path]:
    """Return folders with issue_2 before issue_10."""
    return sorted(folders, key=lambda one: (len(one.name), one.name))
