"""Pictures as SVG text, by a Jinja template that escapes every word: names in a picture come from outside.

Jinja is here already with Prefect, and well kept; svgwrite is not maintained any more, and matplotlib brings fonts, a
second's import and pixels for what is two hundred lines of text.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from models.picture import HEIGHT, WIDTH, Picture, Role

# Colours that a colour-blind reader tells apart (Okabe and Ito), each with a width of its own besides.
COLOURS = {Role.ROOT: "#d55e00", Role.SUSPECT: "#e69f00", Role.SYMPTOM: "#56b4e9", Role.WELL: "#b8bcc4"}
WIDTHS = {Role.ROOT: 7, Role.SUSPECT: 5, Role.SYMPTOM: 4, Role.WELL: 1.5}


def svg(picture: Picture) -> str:
    """Draw a picture: one self-contained SVG document, nothing loaded from anywhere, no script."""
    return _template().render(p=picture, width=WIDTH, height=HEIGHT, colours=COLOURS, widths=WIDTHS)


@cache
def _template() -> Template:
    # select_autoescape goes by the file's name; here everything is escaped, whatever the file is called.
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("incident.svg.jinja")
