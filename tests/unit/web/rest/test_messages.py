"""Messages as commands show them, for programs elsewhere."""

from __future__ import annotations

import pytest

from smtpeter.model.delivery import RecipientState
from smtpeter.model.documents import describe, describe_event
from smtpeter.model.event import EventKind, JournalEntry
from smtpeter.model.listing import Filter, MessageRow
from smtpeter.web.rest.messages import routes
from smtpeter.web.rest.values import ApiError
from tests.fakes.reading_back import MINE, NOW, OTHERS, FakeJournal, FakeQueue, get, make_account, make_id


def make_row(count, number=1, of=1, account=MINE, **changes):
    id = make_id(count)
    row = MessageRow(
        id if of == 1 else f"{id}-{number}", id, number, RecipientState.DUE, 0, make_account(account).email,
        "sender@example.org", f"r{number}@example.net", "Hello", NOW, NOW + 60, ("a",),
    )  # fmt: skip
    return row._replace(**changes)


def made(*rows, entries=()):
    queue, journal = FakeQueue(rows=rows), FakeJournal()
    journal.entries = list(entries)
    return queue, routes(queue, journal)


def refusal(found, target, account=MINE):
    with pytest.raises(ApiError) as caught:
        get(found, target, account)
    return caught.value.status, caught.value.text


ENTRY = JournalEntry(1, make_id(1), 1, EventKind.DEFERRAL, NOW + 1, {"code": 451, "event": "x", "time": "y"})


def test_a_listing_has_the_rows_of_the_command() -> None:
    rows = (make_row(2), make_row(1, subject="é\ud800", state=RecipientState.DELIVERED, next_attempt=None))
    _, found = made(*rows)
    answered = get(found, "/messages")
    assert answered.content_type == b"application/json"
    plain = rows[1]._replace(subject="é?")
    assert answered.json == {"messages": [describe(rows[0]), describe(plain)], "cursor": None}


def test_an_empty_listing() -> None:
    assert get(made()[1], "/messages").json == {"messages": [], "cursor": None}


def test_all_pages_have_all_messages() -> None:
    rows = [make_row(count, number, 2) for count in range(250, 0, -1) for number in (1, 2)]
    _, found = made(*rows)
    seen, cursor = [], ""
    while cursor is not None:
        page = get(found, f"/messages?limit=125{cursor and '&cursor=' + cursor}").json
        assert len(page["messages"]) == 125
        seen += [message["id"] for message in page["messages"]]
        cursor = page["cursor"]
    assert seen == [row.id for row in rows]


def test_the_filter_is_that_of_the_query_and_of_ones_own_account() -> None:
    queue, found = made()
    get(
        found,
        "/messages?recipient=a%2Bb@example.net&tag=x&state=held&state[]=due&since=2023-11-01&until=2023-11-02+01:02:03"
        f"&limit=7&cursor={make_id(3)}-2",
    )
    states = frozenset({RecipientState.HELD, RecipientState.DUE})
    assert queue.asked == [
        (
            Filter("account7@example.org", "a+b@example.net", None, "x", states, 1_698_796_800, 1_698_886_923),
            8,
            (make_id(3), 2),
        )
    ]


def test_deferred_are_those_due_that_were_tried() -> None:
    queue, found = made()
    get(found, "/messages?state=deferred")
    get(found, "/messages?state=deferred&state=due")
    (first, _, _), (second, _, _) = queue.asked
    assert (first.states, first.attempted) == (frozenset({RecipientState.DUE}), True)
    assert (second.states, second.attempted) == (frozenset({RecipientState.DUE}), False)


@pytest.mark.parametrize(
    "query",
    ["state=gone", "limit=0", "limit=1001", "limit=x", "since=now", "until=2h", "cursor=x", f"cursor={make_id(1)}",
     "cursor=", "recipient=a&recipient=b", "tag=a&tag=b"],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_the_name_of_the_field(query: str) -> None:
    status, text = refusal(made()[1], f"/messages?{query}")
    assert (status, text.partition(":")[0]) == (400, query.partition("=")[0])


def test_a_message_with_its_events() -> None:
    row = make_row(1)
    _, found = made(row, entries=[ENTRY])
    answered = get(found, f"/messages/{row.id}")
    assert answered.json == describe(row) | {"events": [describe_event(ENTRY)]}
    assert answered.json["events"] == [{"event": "deferral", "time": "2023-11-14 22:13:21", "code": 451}]


def test_a_message_without_events() -> None:
    row = make_row(1)
    assert get(made(row)[1], f"/messages/{row.id}").json == describe(row) | {"events": []}


def test_a_submission_with_several_recipients() -> None:
    rows = [make_row(1, number, 3) for number in (1, 2, 3)]
    _, found = made(*reversed(rows), entries=[ENTRY._replace(number=2)])
    assert get(found, f"/messages/{make_id(1)}").json == {
        "id": make_id(1),
        "messages": [
            describe(row) | {"events": [describe_event(ENTRY)] if row.number == 2 else []} for row in rows
        ],
    }  # fmt: skip
    assert get(found, f"/messages/{make_id(1)}-3").json == describe(rows[2]) | {"events": []}


def test_many_events_are_written_some_at_a_time() -> None:
    row = make_row(1)
    entries = [ENTRY._replace(cursor=each) for each in range(1, 1000)]
    assert len(get(made(row, entries=entries)[1], f"/messages/{row.id}").json["events"]) == 999


def test_another_accounts_message_is_answered_as_one_that_never_was() -> None:
    _, found = made(make_row(1), make_row(2, account=OTHERS))
    unknown = refusal(found, f"/messages/{make_id(9)}")
    assert unknown[0] == 404
    for id in (make_id(2), f"{make_id(1)}-1", "nonsense", "..%2f..%2fetc"):
        assert refusal(found, f"/messages/{id}") == unknown


def test_an_administrator_sees_the_mail_of_his_account_only() -> None:
    queue, found = made(make_row(1, account=OTHERS))
    assert get(found, "/messages", MINE).json["messages"] == []
    assert queue.asked[0][0].account == "account7@example.org"
