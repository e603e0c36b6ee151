import base64
import json

import pytest

from smtpeter.cli.installation import result_of
from smtpeter.mime.convert import convert
from smtpeter.model.delivery import RecipientState, SettledJob, Settlement
from smtpeter.model.event import Event, EventKind
from tests.unit.cli.conftest import EMAIL, START

HOSTILE = "Hi\x1b]0;owned\x07\x1b[2J\r\nsmtpeter: all is well\u202e\u2028\x9b31m"


def listed(gateway, *arguments):
    return [row["id"] for row in gateway.json("message", "list", *arguments)]


def attempt(gateway, kind, data, state, when=START + 5, due=START + 60):
    """Claim all that is due and settle it."""
    with gateway.open() as store:
        lanes, _ = result_of(store.queue.due_lanes(START + 1, 10))
        jobs = result_of(store.queue.claim_due([(lane, 10) for lane in lanes], START + 1, START + 100))
        settled = [
            SettledJob(
                job.submission,
                job.lease,
                tuple(Settlement(each.number, state, 1, due, Event(kind, when, data)) for each in job.recipients),
            )
            for job in jobs
        ]
        assert result_of(store.queue.settle(settled)) == sum(len(job.recipients) for job in jobs) > 0


def test_list_has_one_row_for_each_recipient_newest_first(gateway):
    account = gateway.add_account().number
    old = gateway.enqueue("x@example.net", account=account, subject="Old", tags=("a", "b"))
    new = gateway.enqueue("y@example.net", "z@example.org", time=START + 60)
    rows = gateway.json("message", "list")
    assert [row["id"] for row in rows] == [f"{new}-1", f"{new}-2", old]
    assert rows[2] == {
        "id": old, "submission": old, "state": "due", "attempts": 0, "account": EMAIL, "envelope": "ann@example.com",
        "recipient": "x@example.net", "subject": "Old", "time": "2023-11-14 22:13:20",
        "next_attempt": "2023-11-14 22:13:20", "tags": ["a", "b"],
    }  # fmt: skip
    assert (rows[0]["submission"], rows[0]["account"]) == (new, "")
    lines = gateway.run("message", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "TIME", "STATE", "ATTEMPTS", "ENVELOPE", "RECIPIENT", "SUBJECT"]
    assert len(lines) == 4


def test_list_stops_at_100_unless_told_otherwise(gateway):
    gateway.enqueue(*(f"u{number}@example.net" for number in range(130)))
    assert len(gateway.json("message", "list")) == 100
    assert len(gateway.json("message", "list", "--limit", "2")) == 2
    assert len(gateway.json("message", "list", "--limit", "500")) == 130
    gateway.refused("message", "list", "--limit", "0", code=2)


def test_filters(gateway):
    account = gateway.add_account().number
    old = gateway.enqueue("x@example.net", account=account, tags=("news",))
    new = gateway.enqueue("y@example.org", number=1, time=START + 3600)
    assert listed(gateway, "--account", EMAIL) == [old]
    assert listed(gateway, "--recipient", "Y@example.org") == [new]
    assert listed(gateway, "--domain", "EXAMPLE.net") == [old]
    assert listed(gateway, "--tag", "news") == [old]
    assert listed(gateway, "--state", "due", "--state", "held") == [new, old]
    assert listed(gateway, "--state", "failed") == []
    assert listed(gateway, "--since", "2023-11-14 22:30:00") == [new]
    assert listed(gateway, "--until", "2023-11-14T22:30:00Z") == [old]
    assert listed(gateway, "--since", "2023-11-14", "--until", "2023-11-15") == [new, old]
    assert listed(gateway, "--since", "2h") == []
    assert listed(gateway, "--until", "2h") == [new, old]


@pytest.mark.parametrize(
    "wrong",
    [("--since", "yesterday"), ("--since", "2023-02-30"), ("--until", "12"), ("--state", "lost"), ("--domain", "a b")],
)
def test_a_filter_that_makes_no_sense_is_wrong_usage(gateway, wrong):
    gateway.refused("message", "list", *wrong, code=2)


def test_show_a_message_with_its_timeline(gateway):
    id = gateway.enqueue("x@example.net")
    attempt(gateway, EventKind.DEFERRAL, {"code": 451, "description": "later"}, RecipientState.DUE)
    shown = gateway.json("message", "show", id)
    assert (shown["id"], shown["state"], shown["attempts"]) == (id, "due", 1)
    assert shown["next_attempt"] == "2023-11-14 22:14:20"
    assert [event["event"] for event in shown["events"]] == ["attempt", "deferral"]
    deferral = shown["events"][1]
    assert deferral["time"] == "2023-11-14 22:13:25"
    assert (deferral["code"], deferral["description"]) == (451, "later")
    text = gateway.run("message", "show", id).stdout
    assert "due, 1 attempt, next one at 2023-11-14 22:14:20" in text
    assert "2023-11-14 22:13:25  deferral  code: 451, description: later" in text


def test_of_the_headers_of_a_click_people_read_the_program(gateway):
    id = gateway.enqueue("x@example.net")
    headers = "host: click.example\nuser-agent: Mozilla/5.0 (X11)\naccept: */*"
    data = {"ip": "192.0.2.1", "headers": headers, "protocol": "https", "destination": "https://e.example/"}
    attempt(gateway, EventKind.CLICK, data, RecipientState.DUE)
    assert gateway.json("message", "show", id)["events"][1]["headers"] == headers
    text = gateway.run("message", "show", id).stdout
    assert "  click     ip: 192.0.2.1, user-agent: Mozilla/5.0 (X11), protocol: https, destination: https://e." in text
    assert "click.example" not in text


def test_show_a_submission_with_all_its_recipients(gateway):
    id = gateway.enqueue("x@example.net", "y@example.org")
    shown = gateway.json("message", "show", id)
    assert set(shown) == {"id", "messages"}
    assert shown["id"] == id
    assert [each["id"] for each in shown["messages"]] == [f"{id}-1", f"{id}-2"]
    assert all([event["event"] for event in each["events"]] == ["attempt"] for each in shown["messages"])
    one = gateway.json("message", "show", f"{id}-2")
    assert (one["id"], one["recipient"]) == (f"{id}-2", "y@example.org")
    assert "messages" not in one


@pytest.mark.parametrize("verb", ["show", "raw"])
def test_there_is_no_such_message(gateway, verb):
    id = gateway.enqueue("x@example.net", "y@example.net")
    assert "is not the id of a message" in gateway.refused("message", verb, "../../etc/passwd\x1b[2J")
    assert f"{id}-3" in gateway.refused("message", verb, f"{id}-3")
    assert "there is no message" in gateway.refused("message", verb, "0" * 26)


def test_raw_gives_the_octets_and_nothing_else(gateway):
    octets = b"Subject: =?x\r\n\r\n\xff\x00\x1b[2J\r\nno newline at the end"
    id = gateway.enqueue("x@example.net", "y@example.org", data=octets)
    assert gateway.run("message", "raw", id).stdout_bytes == octets
    assert gateway.run("message", "raw", f"{id}-2").stdout_bytes == octets
    assert base64.b64decode(gateway.json("message", "raw", id)["base64"]) == octets


def test_raw_gives_the_form_that_went(gateway):
    octets = "Subject: x\r\n\r\nUn café noir.\r\n".encode()
    id = gateway.enqueue("x@example.net", data=octets)
    assert gateway.run("message", "raw", id).stdout_bytes == octets
    attempt(gateway, EventKind.DELIVERY, {"state": "end", "converted": "7bit"}, RecipientState.DELIVERED)
    assert gateway.run("message", "raw", id).stdout_bytes == convert(octets, eight_bit=False) != octets
    # Another receiver, that takes 8 bits, may have been the one that took it.
    again = gateway.enqueue("y@example.net", number=2, data=octets)
    attempt(gateway, EventKind.DEFERRAL, {"state": "end", "converted": "7bit"}, RecipientState.DUE, due=START)
    attempt(gateway, EventKind.DEFERRAL, {"state": "connect"}, RecipientState.DUE, due=START)
    assert gateway.run("message", "raw", again).stdout_bytes == convert(octets, eight_bit=False)
    attempt(gateway, EventKind.DELIVERY, {"state": "end"}, RecipientState.DELIVERED)
    assert gateway.run("message", "raw", again).stdout_bytes == octets
    long = gateway.enqueue("x@example.net", number=1, data=b"Subject: x\r\n\r\n" + b"word " * 300 + b"\r\n")
    assert max(map(len, gateway.run("message", "raw", long).stdout_bytes.split(b"\r\n"))) <= 998


def test_raw_of_what_is_no_longer_kept(gateway):
    id = gateway.enqueue("x@example.net")
    attempt(gateway, EventKind.DELIVERY, {}, RecipientState.DELIVERED)
    with gateway.open() as store:
        assert result_of(store.queue.purge(5e9, 10, 10, 4e9, 10)) == 1
    assert "no longer kept" in gateway.refused("message", "raw", id)


def test_attack_mail_cannot_drive_the_terminal_nor_add_lines(gateway):
    id = gateway.enqueue("x@example.net", subject=HOSTILE)
    attempt(gateway, EventKind.DEFERRAL, {"description": HOSTILE, HOSTILE: [HOSTILE]}, RecipientState.DUE)
    for arguments in (("message", "list"), ("queue", "list"), ("message", "show", id)):
        plain, document = gateway.run(*arguments), gateway.run(*arguments, "--json")
        for output in (plain.stdout, document.stdout):
            assert all(each == "\n" or each.isprintable() for each in output)
        assert not any(line.startswith("smtpeter") for line in plain.stdout.splitlines())
        assert document.stdout.isascii()
    assert json.loads(gateway.run("message", "show", id, "--json").stdout)["subject"] == HOSTILE
