"""How results look: tables and lines for people, one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from smtpeter.model.event import format_time

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def visible(text: str) -> str:
    """Text of strangers (subjects, addresses, replies) with whatever could drive a terminal written as an escape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def shortened(text: str, limit: int) -> str:
    """Visible text of at most ``limit`` characters."""
    text = visible(text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def time_or_none(seconds: float | None) -> str | None:
    """A time for JSON."""
    return None if seconds is None else format_time(seconds)


def print_json(document: Any) -> None:
    """The one document, in ASCII: no text in it can do anything to a terminal."""
    click.echo(json.dumps(document, indent=2))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns below their headings; says so when there is nothing."""
    cells = [[visible(cell) for cell in row] for row in rows]
    if not cells:
        click.echo("(none)")
        return
    lines = [list(headings), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    click.echo(
        "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )
    )


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """One name and value a line, the values aligned."""
    pairs = [(name, visible(value)) for name, value in fields]
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name.ljust(width)}  {value}".rstrip())


def print_secret(as_json: bool, **fields: str) -> None:
    """Something that was just made, with its secret, which nobody will ever see again."""
    if as_json:
        print_json(fields)
        return
    print_fields(fields.items())
    click.echo("\nKeep it now: it is not shown again.")


def print_done(as_json: bool, text: str, document: Any) -> None:
    """What was done: a sentence, or a document."""
    if as_json:
        print_json(document)
    else:
        click.echo(visible(text))


def counted(count: int, noun: str) -> str:
    """``1 recipient``, ``2 recipients``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
