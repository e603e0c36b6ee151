"""Whose trouble it is that a recipient was not reached, told from what the receiver answered.

``smtpeter/data/classification.toml`` has the rules, the first that fits wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from smtpeter.delivery.conditions import (
    CONDITION,
    Condition,
    Readers,
    compile_pattern,
    condition_of,
    load_table,
    read_tables,
    read_texts,
    read_values,
)
from smtpeter.model.delivery import FailureKind, Outcome, OutcomeKind
from smtpeter.settings import SettingsError

# No part of it gives back what it took, and a run of characters is tried from its beginning only: the work grows with
# the length of the text and no faster, whoever wrote it.  %40 is how an "@" stands in a URL.
_RUN = r"""(?:[^\s<>()\[\],:;"@%]++|%(?!40))*+"""
_ADDRESS = re.compile(
    rf"""<?+(?<!\\)"(?:[^"\\]++|\\.)*+"(?:@|%40){_RUN}>?+"""  # "a b"@example.com
    r"""|<[^<>@]*+@[^<>]*+>"""
    rf"""|(?<![^\s<>()\[\],:;"]){_RUN}(?:(?:@|%40){_RUN})++""",
    re.DOTALL,
)

SHIPPED = "classification.toml"
TEXT_LIMIT = 300  # characters of a reply that are looked at: what it means stands in front
_UNTOUCHED = (OutcomeKind.DELIVERED, OutcomeKind.NOT_TRIED)


class Rule(NamedTuple):
    """What answers of this condition mean."""

    condition: Condition
    failure: FailureKind


class Step(NamedTuple):
    """What it means where the text, in lower case, is like this."""

    text: re.Pattern[str]
    failure: FailureKind


class Classifier:
    """Tells the kind of failures by rules.

    A permanent refusal that blames our address or host says nothing of the recipient: it is to be tried again, from
    another address or when that is mended.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._steps = lru_cache(maxsize=1024)(self._steps_for)

    def classify(self, outcome: Outcome) -> Outcome:
        """The same outcome with its ``failure``, and deferred where it is not for the recipient to be blamed."""
        kind = outcome.kind
        if kind in _UNTOUCHED:
            return outcome
        if kind is OutcomeKind.HOLD:
            return outcome._replace(failure=FailureKind.CONFIGURATION)
        failure = self._failure(outcome)
        if failure is FailureKind.REPUTATION and kind is OutcomeKind.FAILED:
            return outcome._replace(kind=OutcomeKind.DEFERRED, failure=failure)
        return outcome._replace(failure=failure)

    def _failure(self, outcome: Outcome) -> FailureKind:
        steps, last = self._steps(outcome.code, outcome.enhanced, outcome.stage)
        if steps:
            text = without_addresses(outcome.text)[:TEXT_LIMIT].lower()
            for step in steps:
                if step.text.search(text):
                    return step.failure
        return last

    def _steps_for(self, code: int, enhanced: str, stage: str) -> tuple[tuple[Step, ...], FailureKind]:
        """What is left to ask of the text, and what it means where no rule fits."""
        rules: list[Rule] = []
        last = FailureKind.NETWORK if not code or code < 500 else FailureKind.POLICY
        for rule in self._rules:
            if rule.condition.may_fit(code, enhanced, stage):
                if rule.condition.text is None:
                    last = rule.failure
                    break
                rules.append(rule)
        return tuple(_joined(rules)), last


def without_addresses(text: str) -> str:
    """A reply's text as rules are held against it, with ``<>`` for whatever looks like an address.

    Receivers repeat our envelope, and whoever sends through us chooses it: ``<zen.spamhaus@example.com>: User unknown``
    must not mean that our address is listed.
    """
    return _ADDRESS.sub("<>", text) if "@" in text or "%40" in text else text


def _joined(rules: Sequence[Rule]) -> list[Step]:
    """Rules that follow one another and mean the same, as one pattern: it is faster."""
    steps = []
    for failure, group in groupby(rules, lambda rule: rule.failure):
        patterns = [rule.condition.text.pattern for rule in group if rule.condition.text is not None]
        steps.append(Step(_compiled("|".join(patterns)), failure))
    return steps


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def load() -> Classifier:
    """The rules that come with smtpeter."""
    return read_classifier(load_table(Path(str(files("smtpeter") / "data" / SHIPPED))))


def read_classifier(document: Mapping[str, Any]) -> Classifier:
    """Rules from a parsed document.

    :raises SettingsError: where keys are unknown or values wrong.
    """
    problems: list[str] = []
    rules = []
    for number, table in enumerate(read_tables(document.get("rule", []), "rule", problems), 1):
        values = read_values(table, _RULE, f"rule number {number}", problems)
        if "failure" in values:
            rules.append(Rule(condition_of(values), values["failure"]))
        elif "failure" not in table:
            problems.append(f"rule number {number}: failure has to be set")
    if problems:
        raise SettingsError(problems)
    return Classifier(rules)


def _failure_kind(value: object) -> FailureKind:
    if value not in list(FailureKind):
        raise ValueError("is none of " + ", ".join(f'"{each}"' for each in FailureKind))
    return FailureKind(str(value))


def _lower_case(value: object) -> re.Pattern[str]:
    """A pattern, or several of which one has to fit, for text in lower case: that is faster than minding no case."""
    patterns = [compile_pattern(each).pattern for each in read_texts(value)]
    if any(re.search(r"(?<!\\)[A-Z]", pattern) for pattern in patterns):
        raise ValueError("has to be in lower case")
    return _compiled("|".join(patterns))


_RULE: Readers = {**CONDITION, "text": _lower_case, "failure": _failure_kind}
