"""Nothing grows without somebody having said what bounds it."""

from __future__ import annotations

import re
from pathlib import Path

from infra.db import unit
from infra.db.tables import Base

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_every_table_has_its_line_in_the_table_of_what_bounds_it():
    assert unit.PostgresStore  # the store knows every table's module
    section = OPERATIONS.read_text().split("## Retention\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == sorted(Base.metadata.tables)
