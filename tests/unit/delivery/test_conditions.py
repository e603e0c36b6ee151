"""Patterns from a file against text from a stranger."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.delivery.conditions import Condition, compile_pattern, read_codes, read_enhanced
from smtpeter.model.reply import TEXT_LIMIT


@pytest.mark.parametrize(
    "pattern",
    [
        r"\[tss?[0-9]{2}\]",
        "too many (?:concurrent |smtp )?connections",
        "spam.*list",
        r"ip.{0,60}(?:listed|blocked)",
        r"(?:\w{1,20} ){0,2}reputation",
        r"[^\]*+]{1,40}\*\+",
        r"(?:ab|cd){1,5}",
    ],
)
def test_patterns_whose_work_is_bounded(pattern: str) -> None:
    assert compile_pattern(pattern).flags & re.IGNORECASE


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(?:a*)*b",
        "(a|a)+b",
        "(?:a|ab){2,}c",
        "a.*b.*c",
        r"(\w{1,20} ){0,20}x",
        "x.{0,40}y.{0,40}z.{0,40}q",
        "((a{1,9}){1,9}){1,9}",
        r"(a)\1+",
        "(?P<a>.+)+",
        "[]a]+[^]b]+",
    ],
)
def test_patterns_that_may_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="may take too long"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["(", "[a", "a{1", "*", "(?<x)", "a{99999999999999999999}", "(" * 5000, "", 7, "a\nb"]
)
def test_what_is_no_pattern_is_refused(pattern: object) -> None:
    try:
        compile_pattern(pattern)
    except ValueError as error:
        assert str(error).startswith("is not a")
    else:
        assert pattern == "a{1"  # which is literal


@given(st.text(st.sampled_from("ab.*+?|(){}[]\\,019^$-w"), max_size=24))
def test_any_pattern_is_taken_or_refused(pattern: str) -> None:
    try:
        compiled = compile_pattern(pattern)
    except ValueError:
        return
    began = time.process_time()
    for text in ("a" * TEXT_LIMIT, "ab" * (TEXT_LIMIT // 2), "a" * (TEXT_LIMIT - 1) + "!"):
        compiled.search(text)
    assert time.process_time() - began < 5


def test_glob_patterns_of_codes() -> None:
    assert read_codes([421, "45x"]) == ("421", "45?")
    condition = Condition(read_codes("5xx"), read_enhanced(["*.7.1", "none"]), ("rcpt",))
    assert condition.may_fit(550, "5.7.1", "rcpt")
    assert condition.may_fit(554, "", "rcpt")
    assert not condition.may_fit(450, "", "rcpt")
    assert not condition.may_fit(550, "5.7.10", "rcpt")
    assert not condition.may_fit(550, "", "end")
    assert not condition.may_fit(0, "", "rcpt")


def test_no_condition_fits_everything() -> None:
    assert Condition().may_fit(0, "", "quit")
