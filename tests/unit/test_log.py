"""Lines for people and for machines, whatever an event holds."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from smtpeter.log import LineObserver, make_observer, render_json, render_text

TIME = 1_700_000_000.25


def event(**fields):
    return {
        "log_time": TIME,
        "log_level": LogLevel.info,
        "log_namespace": "smtpeter.room",
        "log_format": "hello {name}",
        "name": "world",
        **fields,
    }


def lines(form, *events):
    out = io.StringIO()
    observer = make_observer(form, out)
    for each in events:
        observer(each)
    return out.getvalue().splitlines(keepends=True)


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


def failure():
    try:
        raise ValueError("wrong\nvalue")
    except ValueError:
        return Failure()


def test_a_line_for_people():
    assert lines("text", event()) == ["2023-11-14T22:13:20.250Z info [smtpeter.room] hello world\n"]
    assert lines("text", event(log_level=LogLevel.warn))[0].split()[1] == "warning"


def test_an_object_for_machines():
    [line] = lines("json", event(count=2, ratio=0.5, yes=True, nothing=None))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "system": "smtpeter.room",
        "message": "hello world",
        "name": "world",
        "count": 2,
        "ratio": 0.5,
        "yes": True,
        "nothing": None,
    }


def test_attack_a_value_with_line_ends_forges_no_line():
    name = "x\r\n2023-11-14T22:13:20.250Z info [smtpeter] \x1b[31mforged\u2028\x00\x85"
    for form in ("text", "json"):
        [line] = lines(form, event(name=name))
        assert line.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"caf\xc3\xa9\xff", "caf\xe9\\xff"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ({"a": [1, b"x"]}, "{'a': [1, b'x']}"),
        ("\udcff", "\udcff"),
        ("x" * 10_000, "x" * 2048),
        (LogLevel.error, "<LogLevel=error>"),
    ],
)
def test_odd_values_are_shown_in_json_that_any_reader_takes(value, shown):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    [line] = lines("json", event(value=value))
    assert json.loads(line, parse_constant=refuse)["value"] == shown


def test_fields_of_an_event_take_no_place_of_ours():
    [line] = lines("json", event(time=1, level="high", system="theirs", message="theirs", traceback="none"))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "system": "smtpeter.room",
        "message": "hello world",
        "name": "world",
    }


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "odd", [{"value": Unprintable(), "log_format": "{value}"}, {"value": 10**5000}, {"log_time": float("nan")}]
)
def test_an_event_that_cannot_be_written_leaves_a_line_all_the_same(form, odd):
    [line] = lines(form, event(**odd))
    assert line.endswith("\n") and len(line) < 10_000


def test_an_event_without_anything_is_a_line():
    for form in ("text", "json"):
        assert len(lines(form, {})) == 1


def test_a_traceback_stays_on_its_line():
    [line] = lines("text", event(log_failure=failure()))
    assert "ValueError: wrong\\nvalue" in line
    [line] = lines("json", event(log_failure=failure()))
    assert "ValueError: wrong\nvalue" in json.loads(line)["traceback"]


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.text(), st.binary(), st.floats(), st.integers()), max_size=5))
def test_whatever_an_event_holds_it_is_one_line(fields):
    for form in ("text", "json"):
        [line] = lines(form, {**event(), **fields})
        assert line.count("\n") == 1
        if form == "json":
            json.loads(line)


class Broken:
    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("closed"), BrokenPipeError()])
def test_a_log_that_cannot_be_written_stops_nothing(error):
    LineObserver(Broken(error), render_text)(event())


def test_a_locale_that_lacks_a_character_loses_no_line():
    octets = io.BytesIO()
    observer = make_observer("text", io.TextIOWrapper(octets, encoding="ascii"))
    observer(event(name="h\xe9 \u2603"))
    assert octets.getvalue().endswith(b"hello h\\xe9 \\u2603\n")


def test_twisteds_publisher_and_its_older_events_go_through():
    out = io.StringIO()
    observer = make_observer("json", out)
    assert verifyObject(ILogObserver, observer)
    Logger(namespace="smtpeter.room", observer=LogPublisher(observer)).info("new {x}", x=1)
    publisher = legacy.LogPublisher(publishPublisher=LogPublisher(observer))
    publisher.msg("old")
    new, old = map(json.loads, out.getvalue().splitlines())
    assert (new["message"], new["x"], old["message"]) == ("new 1", 1, "old")


def test_the_form_is_chosen_by_its_name():
    out = io.StringIO()
    assert make_observer("json", out)._render is render_json
    assert make_observer("text", out)._render is render_text
