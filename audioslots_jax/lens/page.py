"""A page in one file: what it consists of, and its text as HTML."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import jinja2

from audioslots_jax.lens.attention import Looks
from audioslots_jax.lens.cards import Card
from audioslots_jax.lens.images import Picture


class Figure(NamedTuple):
    """A picture with what it shows, and the colours in it by what they mean."""

    picture: Picture
    caption: str
    legend: Sequence[tuple[str, str]] = ()


class Table(NamedTuple):
    """Rows as long as the header; the first cell of each names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """A part of a page; ``looks`` come by the name of their mixture."""

    title: str
    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    cards: Sequence[Card] = ()
    looks: Sequence[tuple[str, Looks]] = ()


def render(title: str, facts: Sequence[str], sections: Sequence[Section]) -> bytes:
    """Returns a page that needs no other file and cannot ask for one.

    All texts are shown as they are, whatever is in them.
    """
    files = resources.files(__package__)
    script, style = ((files / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((files / "page.html").read_text(encoding="utf-8"))
    text = template.render(
        title=title, facts=facts, sections=sections, script=script, style=style, digest=digest
    )
    return text.encode(errors="replace")
