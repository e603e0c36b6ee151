"""Core options out of X-SMTPeter-* fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.errors import Refusal
from smtpeter.intake.options import NO_OPTIONS, TAGS_LIMIT, read_controls

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20


def test_fields_of_features_and_unknown_ones_are_not_for_us():
    assert read_controls([("inlinecss", b"yes"), ("whatever", b"\xff")], NOW) == NO_OPTIONS


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (b"one", ("one",)),
        (b" one , two ,,one,", ("one", "two")),
        (b"", ()),
        (b"=?utf-8?q?h=C3=A9?=", ("h\xe9",)),
        (b"x" * 200, ("x" * 200,)),
    ],
)
def test_tags_are_separated_by_commas_and_told_once(value, tags):
    assert read_controls([("tags", value)], NOW).tags == tags


@pytest.mark.parametrize("value", [b"a b", b"a;b", b"x" * 201, b"a\x07b", ",".join(map(str, range(101))).encode()])
def test_tags_that_cannot_be_are_refused_with_the_fields_name(value):
    with pytest.raises(Refusal, match=r"^554 5\.6\.0 X-SMTPeter-Tags: "):
        read_controls([("tags", value)], NOW)


def test_as_many_tags_as_allowed_are_taken():
    value = ",".join(map(str, range(TAGS_LIMIT))).encode()
    assert len(read_controls([("tags", value)], NOW).tags) == TAGS_LIMIT


def test_the_last_delivery_time_is_in_utc():
    assert read_controls([("maxdelivertime", b"2023-11-14 22:13:21")], NOW).expires == NOW + 1


@pytest.mark.parametrize(
    "value",
    [
        b"2023-11-14 22:13:20",  # now is over
        b"2023-11-14",
        b"2023-13-14 22:13:21",
        b"2023-02-29 00:00:00",
        b"0000-01-01 00:00:00",
        b"2030-01-01T00:00:00",
        b"2030-01-01 00:00:00Z",
        "２030-01-01 00:00:00".encode(),
        b"",
        b"tomorrow",
    ],
)
def test_a_time_that_is_over_or_cannot_be_read_is_refused(value):
    with pytest.raises(Refusal, match=r"^554 5\.6\.0 X-SMTPeter-MaxDeliverTime: "):
        read_controls([("maxdelivertime", value)], NOW)


@given(st.sampled_from(["tags", "maxdelivertime"]), st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(name, value):
    try:
        options = read_controls([(name, value)], NOW)
    except Refusal as refusal:
        assert refusal.reply.code == 554
        assert refusal.reply.encode().count(b"\r\n") == 1
    else:
        assert options.expires is None or options.expires > NOW
