"""What happened to messages, as lists and with a cursor."""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import Deferred

from smtpeter.errors import StorageUnavailable
from smtpeter.model.event import EventKind
from smtpeter.web.rest.events import MONTH, routes
from smtpeter.web.rest.streams import AT_A_TIME
from smtpeter.web.rest.values import ApiError
from tests.fakes.reading_back import (
    DAY,
    MINE,
    NOW,
    OTHERS,
    FakeClock,
    FakeJournal,
    FakeQueue,
    begin,
    fetch,
    get,
    make_id,
    make_record,
    make_submission,
    result_of,
)


def made(journal, *submissions):
    return routes(FakeQueue(*submissions), journal, FakeClock())


def refusal(found, target, account=MINE):
    with pytest.raises(ApiError) as caught:
        get(found, target, account)
    return caught.value.status, caught.value.text


def kinds(answered):
    return [event["event"] for event in answered.json]


# --- lists ---


def test_events_of_a_message_oldest_first() -> None:
    journal = FakeJournal(
        make_record(1), make_record(2, EventKind.DELIVERY, NOW + 9), make_record(3, EventKind.OPEN, NOW + 5)
    )
    answered = get(made(journal, make_submission()), f"/events/messageid/{make_id(1)}")
    assert (answered.status, answered.content_type) == (200, b"application/json")
    assert kinds(answered) == ["attempt", "open", "delivery"]
    assert answered.json[0]["data"]["id"] == make_id(1)


def test_a_submissions_id_gives_the_events_of_all_its_recipients() -> None:
    id = make_id(1)
    journal = FakeJournal(make_record(1, submission=f"{id}-1"), make_record(2, submission=f"{id}-2"))
    found = made(journal, make_submission(recipients=2))
    assert [event["id"] for event in get(found, f"/events/messageid/{id}").json] == [f"{id}-1", f"{id}-2"]
    assert [event["id"] for event in get(found, f"/events/messageid/{id}-2").json] == [f"{id}-2"]


def test_another_accounts_message_is_answered_as_one_that_never_was() -> None:
    found = made(FakeJournal(make_record(1)), make_submission(1), make_submission(2, account=OTHERS))
    unknown = refusal(found, f"/events/messageid/{make_id(9)}")
    assert unknown[0] == 404
    for id in (make_id(2), f"{make_id(1)}-1", f"{make_id(1)}-2", "nonsense", "..%2f..%2fetc", "%00"):
        assert refusal(found, f"/events/messageid/{id}") == unknown


def test_no_events_are_an_empty_list() -> None:
    answered = get(made(FakeJournal()), "/events/email/nobody@example.net")
    assert (answered.status, answered.body) == (200, b"[]")


def test_plus_at_and_semicolon_are_literal_in_a_path() -> None:
    address = "a+b@example.net"
    journal = FakeJournal(
        make_record(1, recipient=address), make_record(2, tags=("x", "y")), make_record(3, tags=("x",))
    )
    assert [event["recipient"] for event in get(made(journal), f"/events/email/{address}").json] == [address]
    assert [event["tags"] for event in get(made(journal), "/events/tags/x;y").json] == ["x;y"]
    assert [event["tags"] for event in get(made(journal), "/events/tags/x?tags=y").json] == ["x;y"]
    assert [event["tags"] for event in get(made(journal), "/events/tags/%78").json] == ["x;y", "x"]


def test_tags_that_are_none_are_no_list_of_everything() -> None:
    assert refusal(made(FakeJournal(make_record(1))), "/events/tags/;")[0] == 404


def test_no_event_is_of_a_template_yet() -> None:
    assert get(made(FakeJournal(make_record(1))), "/events/template/0").body == b"[]"


def test_events_of_others_are_not_seen() -> None:
    journal = FakeJournal(make_record(1), account=OTHERS)
    for target in ("/events/email/r1@example.net", "/events/tags/a", "/events/template/1"):
        assert get(made(journal), target).json == []


# --- their time ---


def asked_for(target, *submissions):
    journal = FakeJournal()
    get(made(journal, *submissions), target)
    return journal.calls[0][0].since, journal.calls[0][0].until


def test_without_a_period_it_is_the_last_month() -> None:
    assert asked_for("/events/email/a@example.net") == (NOW - MONTH, None)


def test_without_a_period_it_is_the_month_after_a_message_was_sent() -> None:
    sent = make_submission(time=NOW - 200 * DAY + 0.7)
    assert asked_for(f"/events/messageid/{sent.id}", sent) == (NOW - 200 * DAY, NOW - 200 * DAY + MONTH)


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ("start=2023-11-01&end=2023-11-02", 1_698_796_800, 1_698_883_200),
        ("start=2023-11-01", 1_698_796_800, 1_698_796_800 + MONTH),
        ("end=2023-11-02", 1_698_883_200 - MONTH, 1_698_883_200),
        ("START=2023-11-01+00:00:01&end=2023-11-01T00:00:02Z", 1_698_796_801, 1_698_796_802),
        ("start=2023-10-01&end=2023-11-01", 1_696_118_400, 1_698_796_800),
    ],
)
def test_a_period_is_of_dates_or_times_in_utc(query: str, since: float, until: float) -> None:
    assert asked_for(f"/events/email/a@example.net?{query}") == (since, until)


def test_the_end_is_exclusive_and_the_start_is_not() -> None:
    journal = FakeJournal(make_record(1, time=1_698_796_800), make_record(2, EventKind.OPEN, 1_698_883_200))
    found = made(journal)
    assert kinds(get(found, "/events/email/r1@example.net?start=2023-11-01&end=2023-11-02")) == ["attempt"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("start=2023-10-01&end=2023-11-02", "end"),
        ("start=2023-11-02&end=2023-11-01", "end"),
        ("start=yesterday", "start"),
        ("start=2023-02-30", "start"),
        ("start=", "start"),
        ("end=2023-11-01x", "end"),
        ("start=2023-11-01&start=2023-11-02", "start"),
        ("end=2023-11-01%0a", "end"),
    ],
)
def test_a_wrong_period_is_refused_by_the_name_of_the_field(query: str, field: str) -> None:
    for path in ("/events/email/a@example.net", "/events/template/1", "/events/tags/a"):
        status, text = refusal(made(FakeJournal()), f"{path}?{query}")
        assert (status, text.partition(":")[0]) == (400, field)


# --- long lists ---


def test_a_month_of_events_is_read_piece_by_piece() -> None:
    journal = FakeJournal(*[make_record(each) for each in range(1, 2 * AT_A_TIME + 2)])
    response = begin(made(journal), "/events/email/r1@example.net")
    assert len(journal.calls) == 1
    result_of(anext(response.body))
    assert len(journal.calls) == 1
    assert len(get(made(journal), "/events/email/r1@example.net").json) == 2 * AT_A_TIME + 1


def test_a_list_is_right_where_some_of_its_pieces_are_empty() -> None:
    journal = FakeJournal(*[make_record(each, time=NOW if each % AT_A_TIME == 0 else 0) for each in range(1, 9000)])
    assert len(get(made(journal), "/events/email/r1@example.net").json) == 8999 // AT_A_TIME


def test_a_journal_that_takes_its_time() -> None:
    journal, waiting = FakeJournal(make_record(1)), Deferred()
    read = journal.records
    journal.records = lambda *arguments: waiting.addCallback(lambda _: read(*arguments))
    answer = Deferred.fromCoroutine(fetch(made(journal), "/events/email/r1@example.net"))
    assert not answer.called
    waiting.callback(None)
    assert kinds(answer.result) == ["attempt"]


def test_trouble_before_the_first_event_is_an_answer_of_its_own() -> None:
    journal = FakeJournal(make_record(1))
    journal.trouble = (0, StorageUnavailable("away"))
    for target in ("/events/email/r1@example.net", "/events"):
        with pytest.raises(StorageUnavailable):
            begin(made(journal), target)


def test_an_answer_that_fails_in_the_middle_does_not_look_complete() -> None:
    for target in ("/events/email/r1@example.net", "/events?limit=10000"):
        journal = FakeJournal(*[make_record(each) for each in range(1, 2 * AT_A_TIME)])
        journal.trouble = (1, StorageUnavailable("away"))
        response = begin(made(journal), target)
        seen = result_of(anext(response.body))
        with pytest.raises(StorageUnavailable):
            result_of(anext(response.body))
        with pytest.raises(json.JSONDecodeError):
            json.loads(seen)


# --- the cursor ---


def followed(found, limit, account=MINE):
    """All events, and how many answers it took."""
    cursor, cursors, answers = "0", [], 0
    while True:
        answered = get(found, f"/events?after={cursor}&limit={limit}", account)
        cursors += [event["time"] for event in answered.json["events"]]
        answers += 1
        cursor = answered.json["cursor"]
        if not answered.json["more"]:
            return cursors, answers, cursor


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 1000])
def test_every_event_comes_once_and_in_order(limit: int) -> None:
    journal = FakeJournal(*[make_record(each, time=NOW + each) for each in range(1, 8)])
    times, _, cursor = followed(made(journal), limit)
    assert times == [f"2023-11-14 22:13:{20 + each}" for each in range(1, 8)]
    assert cursor == "7"
    journal.held.append((MINE, make_record(8, EventKind.OPEN)))
    assert [event["event"] for event in get(made(journal), f"/events?after={cursor}").json["events"]] == ["open"]


def test_what_is_others_is_passed_by_once() -> None:
    journal = FakeJournal(*[make_record(each) for each in range(1, 8)], account=OTHERS)
    journal.held.append((MINE, make_record(8)))
    journal.held.append((OTHERS, make_record(9)))
    answered = get(made(journal), "/events")
    assert ([each["event"] for each in answered.json["events"]], answered.json["cursor"]) == (["attempt"], "9")
    assert get(made(journal), "/events?after=9").json == {"events": [], "cursor": "9", "more": False}


def test_no_event_is_passed_by_that_is_written_while_an_answer_is_made() -> None:
    journal = FakeJournal(make_record(1))
    records = journal.records

    def records_while_others_write(filter, after, limit, render):
        answer = records(filter, after, limit, render)
        journal.held.append((MINE, make_record(2)))
        return answer

    journal.records = records_while_others_write
    assert get(made(journal), "/events").json["cursor"] == "1"


def test_an_answer_ends_though_there_is_little_among_many_events_of_others(monkeypatch) -> None:
    monkeypatch.setattr("smtpeter.web.rest.events._LOOKS", 2)
    journal = FakeJournal(*[make_record(each) for each in range(1, 5 * AT_A_TIME)], account=OTHERS)
    journal.held.append((MINE, make_record(5 * AT_A_TIME)))
    answered = get(made(journal), "/events")
    assert answered.json == {"events": [], "cursor": str(2 * AT_A_TIME), "more": True}
    assert followed(made(journal), 10) == (["2023-11-14 22:13:20"], 3, str(5 * AT_A_TIME))


def test_a_cursor_of_a_store_that_is_gone_is_not_taken_for_one_of_this() -> None:
    status, text = refusal(made(FakeJournal(make_record(1))), "/events?after=2")
    assert (status, text.partition(":")[0]) == (400, "after")


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=", "after=1%20", "after=9999999999999999999",
                                   "limit=0", "limit=10001", "limit=x", "after=1&after=2"])  # fmt: skip
def test_a_wrong_cursor_or_limit_is_refused_by_its_name(query: str) -> None:
    status, text = refusal(made(FakeJournal(make_record(1))), f"/events?{query}")
    assert (status, text.partition(":")[0]) == (400, query.partition("=")[0])


def test_all_that_is_known_is_there() -> None:
    journal = FakeJournal(make_record(1, EventKind.DELIVERY, data={"possible_duplicate": True}))
    (event,) = get(made(journal), "/events").json["events"]
    assert event["possible_duplicate"] is True
    assert event["data"]["possible_duplicate"] is True
