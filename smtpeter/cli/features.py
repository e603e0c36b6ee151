"""``smtpeter features``: what is installed, in the order in which it runs, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click

from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import json_option, print_json, print_table
from smtpeter.features.catalog import Found
from smtpeter.model.feature import Option


@click.command()
@json_option
@pass_installation
def features(installation: Installation, as_json: bool) -> None:
    """List the features that are installed, in the order in which they run; disabled ones at the end."""
    found = installation.features
    owners = {path: name for name, path in _packed([*found.features, *found.disabled])}
    if as_json:
        print_json(
            [_describe(each, owners, enabled=True) for each in found.features]
            + [_describe(each, owners, enabled=False) for each in found.disabled]
        )
        return
    print_table(
        ("NAME", "OPTIONS", "FROM", "FILE"),
        [(each.name, _listed(each), owners.get(each.origin, ""), str(each.origin)) for each in found.features]
        + [
            (f"{each.name} (disabled)", _listed(each), owners.get(each.origin, ""), str(each.origin))
            for each in found.disabled
        ],
    )
    for remark in found.remarks:
        click.echo(f"warning: {remark}", err=True)


def _listed(each: Found) -> str:
    return ", ".join(_named(option) for option in each.plugin.options)


def _named(option: Option) -> str:
    return option.name + (f" ({', '.join(option.aliases)})" if option.aliases else "")


def _describe(each: Found, owners: dict[Path, str], *, enabled: bool) -> dict[str, Any]:
    return {
        "name": each.name,
        "options": [
            {"name": option.name, "aliases": list(option.aliases), "kind": str(option.kind), "help": option.help}
            for option in each.plugin.options
        ],
        "after": list(each.plugin.after),
        "before": list(each.plugin.before),
        "origin": str(each.origin),
        "distribution": owners.get(each.origin),
        "enabled": enabled,
    }


def _packed(found: list[Found]) -> Iterator[tuple[str, Path]]:
    """Names of distributions with the files of features that they installed."""
    origins = {each.origin.resolve(): each.origin for each in found}
    names = {path.name for path in origins}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        for file in distribution.files or ():
            if file.name in names:
                path = Path(str(distribution.locate_file(file))).resolve()
                if path in origins:
                    yield name, origins[path]
        tree = _editable(distribution)
        if tree is not None:
            yield from ((name, origins[path]) for path in origins if path.is_relative_to(tree))


def _editable(distribution: Distribution) -> Path | None:
    """The directory that was installed with ``pip install -e``: its files are in no list."""
    try:
        document = json.loads(distribution.read_text("direct_url.json") or "{}")
        editable = document.get("dir_info", {}).get("editable")
        return Path(unquote(urlsplit(document["url"]).path)).resolve() if editable else None
    except (ValueError, KeyError, AttributeError):
        return None
