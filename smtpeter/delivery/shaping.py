"""What providers put up with, as data: the limits of each site, and what follows from what they answer.

``smtpeter/data/shaping.toml`` is ours, and says where its values come from; an operator's file is laid over it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from smtpeter.delivery.classify import TEXT_LIMIT, without_addresses
from smtpeter.delivery.conditions import (
    CONDITION,
    Condition,
    Readers,
    condition_of,
    load_table,
    read_tables,
    read_text,
    read_texts,
    read_truth,
    read_values,
    shown,
)
from smtpeter.delivery.throttle import Rate, Shape
from smtpeter.model.delivery import Outcome, OutcomeKind
from smtpeter.quantities import parse_duration
from smtpeter.settings import SettingsError

SHIPPED = "shaping.toml"
_REASON_LIMIT = 300  # characters
_BURST = 5.0  # seconds whose share may go at once
_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hour": 3600.0, "day": 86400.0}
_RATE = re.compile(r"([0-9]{1,9})/(s|sec|min|h|hour|day)", re.ASCII)
_HOST_PATTERN = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,20}", re.ASCII)


class Action(StrEnum):
    """What a reaction does, for a time: divide the limits, or start nothing, from the source address that was answered
    so, or from any.  Or nothing at all, so that no reaction further down is asked."""

    SLOW = "slow"
    PAUSE_SOURCE = "pause_source"
    PAUSE_SITE = "pause_site"
    NONE = "none"


class Reaction(NamedTuple):
    """What to do about an answer, for so many seconds.  ``factor`` is for slowing down; ``reason`` is a sentence."""

    action: Action
    seconds: float
    factor: float
    reason: str


class Site(NamedTuple):
    """A provider: its hosts by exact name and by suffix, and its limits."""

    name: str
    hosts: frozenset[str]
    suffixes: tuple[str, ...]
    shape: Shape

    def has(self, hosts: Sequence[str]) -> bool:
        return all(host in self.hosts or host.endswith(self.suffixes) for host in hosts)


class Rule(NamedTuple):
    """When to do what; ``sites``: only there, empty: anywhere."""

    name: str
    sites: frozenset[str]
    condition: Condition
    action: Action
    seconds: float
    factor: float


class Shaping:
    """Answers from one set of rules; of several that fit, the first counts."""

    def __init__(self, default: Shape, sites: Sequence[Site], rules: Sequence[Rule]) -> None:
        self._default = default
        self._sites = sites
        self._named = {site.name: site for site in sites}
        self._rules = rules
        self._candidates = lru_cache(maxsize=1024)(self._rules_for)

    def site(self, mx_hosts: Sequence[str]) -> str | None:
        """The provider that all these hosts are of; its name is that of the site, whatever set of its hosts a domain
        has.  None: nobody in particular."""
        found = self._find(mx_hosts)
        return None if found is None else found.name

    def shape(self, mx_hosts: Sequence[str], site: str) -> Shape:
        """The limits for a site, by its name or by its hosts.  A relay is a site with one host."""
        found = self._named.get(site) or self._find(mx_hosts)
        return self._default._replace(name=site) if found is None else found.shape

    def react(self, outcome: Outcome, site: str) -> Reaction | None:
        """What to do about an outcome, None: nothing."""
        if outcome.kind is OutcomeKind.DELIVERED or not outcome.code:
            return None
        searched = without_addresses(outcome.text)[:TEXT_LIMIT]
        for rule in self._candidates(site, outcome.code, outcome.enhanced, outcome.stage):
            text = rule.condition.text
            if text is None or text.search(searched):
                if rule.action is Action.NONE:
                    return None
                said = " ".join(filter(None, (str(outcome.code), outcome.enhanced, outcome.text)))
                return Reaction(rule.action, rule.seconds, rule.factor, f"{rule.name}: {said}"[:_REASON_LIMIT])
        return None

    def _rules_for(self, site: str, code: int, enhanced: str, stage: str) -> tuple[Rule, ...]:
        """Those that fit but for the text."""
        return tuple(
            rule
            for rule in self._rules
            if (not rule.sites or site in rule.sites) and rule.condition.may_fit(code, enhanced, stage)
        )

    def _find(self, mx_hosts: Sequence[str]) -> Site | None:
        hosts = [host.rstrip(".").lower() for host in mx_hosts]
        return next((site for site in self._sites if site.has(hosts)), None) if hosts else None


# --- from files -----------------------------------------------------------------------------------------------------


def load(path: Path | None = None) -> Shaping:
    """Our rules, and those of an operator's file over them.

    What has the name of one of ours changes it key by key, or drops it (``disabled = true``); what is new comes before
    ours.

    :raises ConfigError: where the file cannot be read or is no TOML (one line).
    :raises SettingsError: where keys are unknown or values wrong (one line for each).
    """
    ours = load_table(Path(str(files("smtpeter") / "data" / SHIPPED)))
    return read_shaping(ours, {} if path is None else load_table(path), "" if path is None else f"{path}: ")


def read_shaping(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> Shaping:
    """The same from parsed documents; ``prefix`` begins each problem.

    :raises SettingsError: where keys are unknown or values wrong.
    """
    problems: list[str] = []
    default: dict[str, Any] = {}
    tables: dict[str, dict[str, dict[str, Any]]] = {"site": {}, "reaction": {}}
    for document in (ours, theirs):
        if document is theirs and problems:
            break
        default |= _read_default(document, problems)
        for kind, readers in (("site", _SITE), ("reaction", _REACTION)):
            tables[kind] = _laid_over(tables[kind], _read_named(document, kind, readers, problems))
    for name, values in tables["reaction"].items():
        needed = ("action",) if values.get("action") is Action.NONE else ("action", "for")
        missing = [key for key in needed if key not in values]
        if missing and not problems:
            problems.append(f"reaction {shown(name)}: {' and '.join(missing)} must be set")
    if problems:
        raise SettingsError([prefix + problem for problem in problems])
    base = Shape("default", **default)
    return Shaping(
        base,
        [_site(name, values, base) for name, values in tables["site"].items()],
        [_rule(name, values) for name, values in tables["reaction"].items()],
    )


def _read_default(document: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    for name in document:
        if name not in ("default", "site", "reaction"):
            problems.append(f"unknown table {shown(name)} (known here: [default], [[site]], [[reaction]])")
    table = document.get("default", {})
    if not isinstance(table, dict):
        problems.append(f"default: {shown(table)} is not a table (try [default])")
        return {}
    return read_values(table, _LIMITS, "default", problems)


def _read_named(
    document: Mapping[str, Any], kind: str, readers: Readers, problems: list[str]
) -> dict[str, dict[str, Any]]:
    named: dict[str, dict[str, Any]] = {}
    for number, table in enumerate(read_tables(document.get(kind, []), kind, problems), 1):
        name = table.get("name")
        if not isinstance(name, str) or not name or not name.isprintable():
            problems.append(f"{kind} number {number}: name: has to be set to a text")
        elif name in named:
            problems.append(f"{kind} {shown(name)}: is there twice")
        else:
            named[name] = read_values(table, readers, f"{kind} {shown(name)}", problems)
    return named


def _laid_over(ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    new = {name: values for name, values in theirs.items() if name not in ours}
    both = new | {name: values | theirs.get(name, {}) for name, values in ours.items()}
    return {name: values for name, values in both.items() if not values.get("disabled")}


def _site(name: str, values: Mapping[str, Any], base: Shape) -> Site:
    patterns = values.get("mx", ())
    limits = {key: value for key, value in values.items() if key in _LIMITS}
    return Site(
        name,
        frozenset(each for each in patterns if not each.startswith("*")),
        tuple(each[1:] for each in patterns if each.startswith("*")),
        base._replace(name=name, **limits),
    )


def _rule(name: str, values: Mapping[str, Any]) -> Rule:
    return Rule(
        name,
        frozenset(values.get("site", ())),
        condition_of(values),
        values["action"],
        values.get("for", 0.0),
        values.get("factor", 2.0),
    )


# --- values ---------------------------------------------------------------------------------------------------------


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
        raise ValueError("is not a whole number from 1 on")
    return value


def read_rate(value: object) -> Rate | None:
    """``"100/min"``; ``"none"``: any rate."""
    if value == "none":
        return None
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not int(match[1]):
        raise ValueError('is not a rate (try "100/min", "5/s", "1000/h", "5000/day" or "none")')
    count, seconds = float(match[1]), _UNITS[match[2]]
    return Rate(count, seconds, max(round(count / seconds * _BURST), 1))


def _duration(value: object) -> float:
    seconds = parse_duration(value)
    if not seconds:
        raise ValueError("has to be longer than nothing")
    return seconds


def _factor(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 1 < value <= 1000:
        raise ValueError("is not a number above 1 and up to 1000")
    return float(value)


def _host_patterns(value: object) -> tuple[str, ...]:
    patterns = read_texts(value)
    if not all(_HOST_PATTERN.fullmatch(each) for each in patterns):
        raise ValueError('is no list of hosts (try ["mx.example.com", "*.mail.example.com"])')
    return tuple(each.lower() for each in patterns)


def _action(value: object) -> Action:
    if value not in list(Action):
        raise ValueError("is none of " + ", ".join(f'"{each}"' for each in Action))
    return Action(str(value))


_LIMITS: Readers = {
    "connections": _count,
    "messages": _count,
    "recipients": _count,
    "message_rate": read_rate,
    "connection_rate": read_rate,
    "idle": _duration,
}
_SITE: Readers = {"name": read_text, "mx": _host_patterns, "source": read_text, "disabled": read_truth, **_LIMITS}
_REACTION: Readers = {
    "name": read_text,
    "site": read_texts,
    **CONDITION,
    "action": _action,
    "factor": _factor,
    "for": _duration,
    "source": read_text,
    "disabled": read_truth,
}
