"""Records as clients know them, to the letter."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET

import pytest

from smtpeter.model.event import EventKind
from smtpeter.web.rest.records import BY_PREFIX, LOGS, csv_lines, fields, json_event, json_object, rows, xml_records
from tests.fakes.reading_back import NOW, make_id, make_record

DELIVERED = {
    "attempt": 2, "from": "192.0.2.1", "to": "198.51.100.7", "code": 250, "status": "2.0.0", "description": "Ok",
    "state": "end", "possible_duplicate": True,
}  # fmt: skip
CLICKED = {"ip": "203.0.113.9", "headers": "host: a\nuser-agent: b", "protocol": "https",
           "destination": "https://example.com/?a=b&c", "machine": "head"}  # fmt: skip
PLACE = ["city", "countryname", "countrycode", "regioncode"]


def values(record):
    (found,) = rows(next(log for log in LOGS if log.kind is record.kind), [record])
    return found


def test_the_fields_are_those_that_clients_know_in_their_order() -> None:
    assert {log.prefix: " ".join(log.fields) for log in LOGS} == {
        "attempts": "id time envelope recipient properties tags templateid",
        "deliveries": "id time envelope recipient from to attempt tags templateid",
        "failures": "id time envelope recipient attempt from to type code status description state tags templateid",
        "bounces": "id time envelope recipient mime tags templateid",
        "responses": "id time envelope recipient mime tags templateid",
        "clicks": "id time headers ip url destination tags recipient city countryname countrycode regioncode "
        "templateid",
        "opens": "id time headers ip protocol tags recipient city countryname countrycode regioncode templateid",
        "abuses": "id time envelope recipient tags templateid",
        "dmarc": "time organizationName email reportId begin end domain sendingDomain messages failedSpf failedDkim",
    }


def test_an_attempt_has_the_options_that_were_on() -> None:
    options = (("inlinecss", "true"), ("trackclicks", "false"), ("images", "default"), ("trackopens", "true"))
    record = make_record(1, tags=("a", "b"), options=options)
    assert values(record) == [
        make_id(1), "2023-11-14 22:13:20", "sender@example.org", "r1@example.net", "inlinecss;trackopens", "a;b", 0,
    ]  # fmt: skip


def test_a_delivery_has_addresses_and_the_number_of_the_attempt_from_0() -> None:
    record = make_record(1, EventKind.DELIVERY, NOW + 0.999, data=DELIVERED)
    assert values(record)[1:] == [
        "2023-11-14 22:13:20", "sender@example.org", "r1@example.net", "192.0.2.1", "198.51.100.7", 2, "", 0,
    ]  # fmt: skip


def test_a_failure_tells_where_and_why() -> None:
    data = DELIVERED | {"attempt": 0, "code": 550, "status": "5.1.1", "description": "Nobody", "state": "rcpt",
                        "type": "failed"}  # fmt: skip
    assert values(make_record(1, EventKind.FAILURE, data=data))[4:] == [
        0, "192.0.2.1", "198.51.100.7", "failed", 550, "5.1.1", "Nobody", "rcpt", "", 0,
    ]  # fmt: skip


def test_a_click_has_its_link_twice_and_no_place() -> None:
    record = make_record(1, EventKind.CLICK, data=CLICKED, tags=("a",))
    url = "https://example.com/?a=b&c"
    assert values(record)[2:] == [
        "host: a\nuser-agent: b", "203.0.113.9", url, url, "a", "r1@example.net", "", "", "", "", 0,
    ]  # fmt: skip
    assert [fields(record)[name] for name in PLACE] == [""] * 4


def test_what_an_events_own_data_says_does_not_take_the_place_of_what_is_joined() -> None:
    record = make_record(1, EventKind.DELIVERY, data={"id": "forged", "recipient": "forged", "time": "forged"})
    assert "forged" not in fields(record).values()


def test_events_without_a_log_file_have_what_explains_them() -> None:
    data = {"description": "Try later", "code": 451, "next_attempt": "2023-11-14 22:18:20"}
    found = fields(make_record(1, EventKind.DEFERRAL, data=data, tags=("a",)))
    assert list(found) == ["id", "time", "recipient", "description", "code", "next_attempt", "tags", "templateid"]
    assert fields(make_record(1, EventKind.HELD))["description"] == ""


@pytest.mark.parametrize("kind", list(EventKind))
def test_what_was_said_to_a_receiver_is_not_told_to_clients(kind: EventKind) -> None:
    record = make_record(1, kind, data={**DELIVERED, "dialogue": "12 < 250 Ok", "tls": "TLSv1.3", "class": "policy"})
    for text in (json_object(record), json_event(record), json_event(record, everything=True)):
        assert "dialogue" not in text and "12 < 250 Ok" not in text
    assert json.loads(json_event(record, everything=True))["class"] == "policy"
    for log in LOGS:
        if log.kind is kind:
            assert set(fields(record)) == set(log.fields), "tls and class have no column"
            assert "12 < 250 Ok" not in str(list(rows(log, [record])))


def test_an_event_has_its_fields_flat_and_again_below_data() -> None:
    event = json.loads(json_event(make_record(1, EventKind.CLICK, data=CLICKED)))
    assert event["event"] == "click"
    assert event["data"] == {name: value for name, value in event.items() if name not in ("event", "data")}
    assert list(event["data"]) == [*BY_PREFIX["clicks"].fields, "templateId"]
    assert (event["templateid"], event["templateId"]) == (0, 0)


def test_all_that_is_known_of_an_event_can_be_had() -> None:
    event = json.loads(json_event(make_record(1, EventKind.CLICK, data=CLICKED), everything=True))
    assert (event["machine"], event["data"]["machine"], event["protocol"]) == ("head", "head", "https")


@pytest.mark.parametrize("everything", [True, False])
def test_data_named_like_the_frame_of_an_event_does_not_break_it(everything: bool) -> None:
    record = make_record(1, EventKind.DEFERRAL, data={"event": "x", "data": "y"})
    event = json.loads(json_event(record, everything=everything))
    assert (event["event"], event["data"]["recipient"]) == ("deferral", "r1@example.net")


def test_json_of_a_log_file_has_the_template_by_both_names() -> None:
    found = json.loads(json_object(make_record(1, EventKind.OPEN, data=CLICKED)))
    assert list(found) == [*BY_PREFIX["opens"].fields, "templateId"]


def test_csv_is_read_as_it_was_written_whatever_is_in_it() -> None:
    nasty = 'a,"b"\r\n=1+1\n\x00;\'é'
    octets = csv_lines([["x", nasty, 0, None], ["y", "", "-1", "@z"]])
    assert list(csv.reader(io.StringIO(octets.decode("utf-8"), newline=""))) == [
        ["x", nasty, "0", ""], ["y", "", "-1", "@z"],
    ]  # fmt: skip
    assert octets.endswith(b"y,,-1,@z\r\n")


def test_xml_is_read_as_it_was_written_but_for_what_it_does_not_have() -> None:
    octets = xml_records(["a", "b"], [["<x>&amp;]]>\r\n\t", "\x00\x0b\x1f\ud800\ufffeé\U0001f600"], [None, 0]])
    first, second = ET.fromstring(b"<records>" + octets + b"</records>")
    assert [each.tag for each in first] == ["a", "b"]
    assert [each.text for each in first] == ["<x>&amp;]]>\r\n\t", "é\U0001f600"]
    assert [each.text for each in second] == [None, "0"]


@pytest.mark.parametrize("write", [json_object, json_event])
def test_half_a_surrogate_pair_from_some_log_is_not_what_breaks_an_answer(write) -> None:
    text = write(make_record(1, EventKind.DELIVERY, data={"from": "\ud800"}))
    assert json.loads(text.encode("utf-8", "replace"))["from"] == "?"


def test_records_of_a_log_come_oldest_first() -> None:
    found = rows(BY_PREFIX["attempts"], [make_record(1, time=NOW + 2), make_record(2, time=NOW)])
    assert [row[1] for row in found] == ["2023-11-14 22:13:20", "2023-11-14 22:13:22"]
