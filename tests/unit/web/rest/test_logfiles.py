"""Files of a day that are nowhere on a disk."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET

import pytest

from smtpeter.errors import StorageUnavailable
from smtpeter.model.event import EventKind
from smtpeter.web.rest.logfiles import routes
from smtpeter.web.rest.records import BY_PREFIX
from smtpeter.web.rest.streams import AT_A_TIME
from smtpeter.web.rest.values import ApiError
from tests.fakes.reading_back import (
    DAY,
    MINE,
    NOW,
    OTHERS,
    FakeClock,
    FakeJournal,
    FakeSubmitter,
    begin,
    get,
    make_id,
    make_record,
    result_of,
)

TODAY = "2023-11-14"
FILE = f"/logfiles/attempts.{TODAY}.log"
LINE = f"{make_id(1)},2023-11-14 22:13:20,sender@example.org,r1@example.net,,a;b,0\r\n"
NAMES = "id,time,envelope,recipient,properties,tags,templateid\r\n"


def made(*records, account=MINE):
    return routes(FakeJournal(*records, account=account), FakeClock())


def refusal(found, target, account=MINE):
    with pytest.raises(ApiError) as caught:
        get(found, target, account)
    return caught.value.status, caught.value.text


ONE = make_record(1, tags=("a", "b"))


# --- the index ---


def test_dates_are_those_from_the_oldest_event_to_today() -> None:
    found = made(make_record(1, time=NOW - 2 * DAY), make_record(2))
    assert get(found, "/logfiles").json == ["2023-11-12", "2023-11-13", "2023-11-14"]


def test_there_is_no_date_before_the_account_was_made() -> None:
    found = made(make_record(1, time=NOW - 50 * DAY))
    assert get(found, "/logfiles", FakeSubmitter(created=NOW - DAY)).json == ["2023-11-13", "2023-11-14"]


def test_without_events_there_are_no_dates() -> None:
    assert get(made(), "/logfiles").json == []
    assert refusal(made(), f"/logfiles/{TODAY}")[0] == 404


def test_the_files_of_a_date_are_those_with_records() -> None:
    found = made(
        make_record(1, time=NOW - DAY),
        make_record(2, EventKind.FAILURE),
        make_record(3),
        make_record(4, EventKind.HELD),
    )
    answered = get(found, f"/logfiles/{TODAY}")
    assert answered.content_type == b"application/json"
    assert answered.json == [f"attempts.{TODAY}.log", f"failures.{TODAY}.log"]
    assert get(found, "/logfiles/2023-11-13").json == ["attempts.2023-11-13.log"]


# --- the files ---


def test_csv_without_names() -> None:
    answered = get(made(ONE), FILE)
    assert (answered.status, answered.content_type, answered.text) == (200, b"text/csv; charset=utf-8", LINE)


def test_csv_with_names() -> None:
    answered = get(made(ONE), f"{FILE}/header")
    assert (answered.content_type, answered.text) == (b"text/csv; charset=utf-8", NAMES + LINE)


def test_json() -> None:
    answered = get(made(ONE), f"{FILE}/json")
    assert answered.content_type == b"application/json"
    assert answered.json == [
        {
            "id": make_id(1), "time": "2023-11-14 22:13:20", "envelope": "sender@example.org",
            "recipient": "r1@example.net", "properties": "", "tags": "a;b", "templateid": 0, "templateId": 0,
        }
    ]  # fmt: skip


def test_xml() -> None:
    answered = get(made(ONE), f"{FILE}/xml")
    assert answered.content_type == b"application/xml; charset=utf-8"
    root = ET.fromstring(answered.body)
    assert (root.tag, [each.tag for each in root]) == ("records", ["record"])
    assert {each.tag: each.text for each in root[0]} == {
        "id": make_id(1), "time": "2023-11-14 22:13:20", "envelope": "sender@example.org",
        "recipient": "r1@example.net", "properties": None, "tags": "a;b", "templateid": "0",
    }  # fmt: skip


def test_a_day_begins_and_ends_with_utc() -> None:
    midnight = 1_699_920_000.0
    times = (midnight - 0.001, midnight, midnight + DAY - 0.001, midnight + DAY)
    found = made(*[make_record(cursor, time=time) for cursor, time in enumerate(times, 1)])
    assert [row["time"] for row in get(found, f"{FILE}/json").json] == ["2023-11-14 00:00:00", "2023-11-14 23:59:59"]


@pytest.mark.parametrize("form", ["", "/header", "/json", "/xml"])
def test_a_file_of_many_pieces_is_whole(form: str) -> None:
    count = 2 * AT_A_TIME + 5
    journal = FakeJournal(*[make_record(each, time=NOW) for each in range(1, count + 1)])
    found = routes(journal, FakeClock())
    response = begin(found, FILE + form)
    assert len(journal.calls) == 1  # the others come as they are fetched
    answered = get(found, FILE + form)
    if form == "/json":
        assert len(answered.json) == count
    elif form == "/xml":
        assert len(ET.fromstring(answered.body)) == count
    else:
        assert len(list(csv.reader(io.StringIO(answered.text, newline="")))) == count + (form == "/header")
    assert response.content_type == answered.content_type


@pytest.mark.parametrize(("form", "end"), [("/json", b"]"), ("/xml", b"</records>\n")])
def test_a_file_that_cannot_be_read_on_does_not_look_whole(form: str, end: bytes) -> None:
    journal = FakeJournal(*[make_record(each) for each in range(1, 2 * AT_A_TIME)])
    journal.trouble = (1, StorageUnavailable("away"))
    response = begin(routes(journal, FakeClock()), FILE + form)
    assert not result_of(anext(response.body)).endswith(end)
    with pytest.raises(StorageUnavailable):
        result_of(anext(response.body))


def test_records_are_asked_for_by_kind_and_day_only() -> None:
    journal = FakeJournal(ONE)
    get(routes(journal, FakeClock()), FILE)
    filter = journal.calls[0][0]
    assert (filter.account, filter.kinds) == (MINE, frozenset({EventKind.ATTEMPT}))
    assert filter.until - filter.since == DAY


# --- what is no file ---


@pytest.mark.parametrize("form", ["", "/header", "/json", "/xml"])
def test_a_file_of_another_account_is_answered_as_one_that_is_not_there(form: str) -> None:
    nobodys = refusal(made(make_record(1, EventKind.HELD)), FILE + form)
    assert nobodys[0] == 404
    assert refusal(made(ONE, account=OTHERS), FILE + form) == nobodys


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2fsmtpeter.db",
        "..%252fsmtpeter.db",
        "%252e%252e",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "..",
        f"attempts.{TODAY}.log%00.txt",
        f"attempts.{TODAY}.log%0a",
        f"%00attempts.{TODAY}.log",
        f"..%2fattempts.{TODAY}.log",
        f"attempts%2f..%2fattempts.{TODAY}.log",
        f"C:%5cattempts.{TODAY}.log",
        f"ATTEMPTS.{TODAY}.log",
        f"attempts.{TODAY}.log.gz",
        f"attempts.{TODAY}",
        f"attempts..{TODAY}.log",
        f"held.{TODAY}.log",
        f"kinds.{TODAY}.log",
        "attempts.2023-11-13.log",
        "attempts.2023-11-15.log",
        "attempts.2023-02-30.log",
        "attempts.0000-00-00.log",
        "attempts.9999-12-31.log",
        "attempts.%EF%BC%92%EF%BC%90%EF%BC%92%EF%BC%93-11-14.log",
        "2023-11-15",
        "2023-13-01",
        "2023-11-14%0a",
        "2023-11-14;",
        "+2023-11-14",
    ],
)
@pytest.mark.parametrize("form", ["", "/json"])
def test_path_traversal_and_other_names_that_are_not_in_the_index(name: str, form: str) -> None:
    journal = FakeJournal(ONE)
    assert refusal(routes(journal, FakeClock()), f"/logfiles/{name}{form}")[0] == 404
    assert journal.calls == []


def test_names_are_those_of_the_table() -> None:
    for prefix in BY_PREFIX:
        status, text = refusal(made(make_record(1, EventKind.HELD)), f"/logfiles/{prefix}.{TODAY}.log")
        assert (status, "empty" in text) == (404, True)
