"""Reports to senders: read back with parsers that are not ours, and fed with what an enemy would write."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.mime.dsn import Action, ReportedRecipient, compose_report, report_subject
from tests.fakes.status_reports import Group, read_date, read_status

ORIGINAL = b"From: ann@example.org\r\nSubject: Lunch on Friday\r\n\r\nDear Bob,\r\n.\r\nsee you\r\n"
RETRY_UNTIL = 1_700_086_400.0
BOB = ReportedRecipient(
    address="bob@example.net",
    action=Action.FAILED,
    orcpt="rfc822;Bob+2Bx@example.net",
    status="5.1.1",
    diagnostic="550 5.1.1 no such user",
    remote_mta="mx.example.net",
    last_attempt=1_700_000_100.0,
)
CAROL = BOB._replace(
    address="carol@example.net", action=Action.DELAYED, orcpt=None, status="4.2.2", diagnostic="452 4.2.2 mailbox full"
)
DAVE = BOB._replace(
    address="dave@example.net", action=Action.RELAYED, orcpt=None, status="2.0.0", diagnostic="250 2.0.0 queued as 17"
)
EVE = ReportedRecipient("eve@example.net", Action.DELIVERED)


def compose(
    *recipients: ReportedRecipient,
    original: bytes = ORIGINAL,
    full: bool = True,
    smtputf8: bool = False,
    boundary: str = "=_0123456789abcdef",
    envid: str | None = None,
    to: str = "ann@example.org",
    retry_until: float = RETRY_UNTIL,
) -> bytes:
    return compose_report(
        reporting_mta="mail.example.com",
        postmaster="postmaster@mail.example.com",
        to=to,
        message_id="19c0ffee@mail.example.com",
        date=1_700_000_200.0,
        boundary=boundary,
        envid=envid,
        arrival=1_700_000_000.0,
        retry_until=retry_until,
        recipients=recipients or (BOB,),
        original=original,
        full=full,
        smtputf8=smtputf8,
    )


def parse(report: bytes) -> tuple[EmailMessage, list[EmailMessage]]:
    message = email.message_from_bytes(report, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message.get_content_type() == "multipart/report"
    parts = list(message.iter_parts())
    assert len(parts) == 3
    return message, [part for part in parts if isinstance(part, EmailMessage)]


def groups(report: bytes) -> list[Message]:
    """The groups of fields of the machine part: the message's own, then one for each recipient."""
    payload = parse(report)[1][1].get_payload()
    assert isinstance(payload, list)
    return [group for group in payload if isinstance(group, Message)]


def status(report: bytes) -> tuple[Group, list[Group]]:
    """The same, by the strict reader."""
    return read_status(raw_part(report, 2))


def readable(report: bytes) -> str:
    content = parse(report)[1][0].get_content()
    assert isinstance(content, str)
    return content


def flowing(report: bytes) -> str:
    """What people read, without its line breaks."""
    return " ".join(readable(report).split())


def raw_part(report: bytes, number: int) -> bytes:
    """A part's octets as they stand between the delimiters, its header taken off."""
    boundary = parse(report)[0].get_boundary()
    assert boundary is not None
    return report.split(f"\r\n--{boundary}".encode())[number].split(b"\r\n\r\n", 1)[1]


def assert_lines_are_legal(report: bytes) -> None:
    unbroken = report.replace(b"\r\n", b"")
    assert b"\r" not in unbroken
    assert b"\n" not in unbroken
    assert b"\0" not in unbroken
    assert max(map(len, report.split(b"\r\n"))) <= 998


# --- the whole ------------------------------------------------------------------------------------------------------


def test_header_of_the_report() -> None:
    message, _ = parse(compose())
    assert message["From"] == "Mail Delivery System <postmaster@mail.example.com>"
    assert message["To"] == "ann@example.org"
    assert message["Subject"] == "Your message could not be delivered"
    assert message["Date"] == "Tue, 14 Nov 2023 22:16:40 +0000"
    assert message["Message-ID"] == "<19c0ffee@mail.example.com>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["MIME-Version"] == "1.0"
    assert message.get_param("report-type") == "delivery-status"
    assert not message.defects


def test_types_of_the_parts_of_a_full_return() -> None:
    _, parts = parse(compose())
    assert [part.get_content_type() for part in parts] == ["text/plain", "message/delivery-status", "message/rfc822"]
    assert [part["Content-Transfer-Encoding"] for part in parts] == ["7bit", "7bit", "7bit"]


def test_report_is_crlf_and_seven_bit() -> None:
    report = compose()
    assert_lines_are_legal(report)
    assert report.isascii()
    assert report.endswith(b"--\r\n")


# --- what people read -----------------------------------------------------------------------------------------------


def test_readable_part_says_what_who_and_why() -> None:
    text = readable(compose())
    assert "mail.example.com" in text
    assert "Lunch on Friday" in text
    assert "<bob@example.net>" in text
    assert "There is no such mailbox" in text
    assert "mx.example.net said:" in text
    assert "550 5.1.1 no such user" in text
    assert "postmaster@mail.example.com" in text


def test_readable_part_tells_that_time_was_over() -> None:
    text = readable(compose(BOB._replace(expired=True, status="4.2.2", diagnostic="452 4.2.2 full")))
    assert "The time in which it could be delivered is over." in flowing(compose(BOB._replace(expired=True)))
    assert "The mailbox is full." in text


def test_readable_part_without_any_reason() -> None:
    text = readable(compose(BOB._replace(status="", diagnostic="", remote_mta="")))
    assert "No reason was recorded." in text
    assert "said:" not in text and "What was recorded" not in text


def test_readable_part_counts_recipients() -> None:
    text = readable(compose(BOB, BOB._replace(address="carol@example.net")))
    assert "these 2 recipients" in text.replace("\n", " ")
    assert "<carol@example.net>" in text


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        ("5.1.9", "something wrong with the address"),
        ("4.4.2", "could not be reached"),
        ("5.7.26", "security or policy"),
        ("5.6.7", "international"),
    ],
)
def test_status_is_explained_by_its_detail_or_else_by_its_subject(status: str, meaning: str) -> None:
    assert meaning in readable(compose(BOB._replace(status=status)))


def test_readable_part_decodes_the_subject_and_stays_seven_bit() -> None:
    report = compose(original=b"Subject: =?utf-8?q?Caf=C3=A9?=\r\n\r\nx\r\n")
    assert "Café" in readable(report)
    assert report.isascii()


# --- what machines read ---------------------------------------------------------------------------------------------


def test_machine_part_has_every_field() -> None:
    own, bob = groups(compose(envid="QQ+2B314159"))
    assert own.items() == [
        ("Original-Envelope-Id", "QQ+314159"),
        ("Reporting-MTA", "dns; mail.example.com"),
        ("Arrival-Date", "Tue, 14 Nov 2023 22:13:20 +0000"),
    ]
    assert bob.items() == [
        ("Original-Recipient", "rfc822; Bob+x@example.net"),
        ("Final-Recipient", "rfc822; bob@example.net"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; mx.example.net"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 no such user"),
        ("Last-Attempt-Date", "Tue, 14 Nov 2023 22:15:00 +0000"),
    ]


def test_machine_part_leaves_out_what_is_not_known() -> None:
    own, bob = groups(compose(ReportedRecipient("bob@example.net", Action.FAILED, status="5.4.4")))
    assert own.keys() == ["Reporting-MTA", "Arrival-Date"]
    assert bob.keys() == ["Final-Recipient", "Action", "Status"]


@pytest.mark.parametrize(
    ("relay", "name"), [("192.0.2.25", "[192.0.2.25]"), ("2001:db8::25", "[IPv6:2001:db8::25]"), ("mx", "mx")]
)
def test_a_host_without_a_name_is_an_address_literal(relay: str, name: str) -> None:
    assert groups(compose(BOB._replace(remote_mta=relay)))[1]["Remote-MTA"] == f"dns; {name}"


def test_each_recipient_has_a_group_of_its_own() -> None:
    _, *recipients = groups(compose(BOB, BOB._replace(address="carol@example.net", status="5.2.2")))
    assert [group["Final-Recipient"] for group in recipients] == [
        "rfc822; bob@example.net",
        "rfc822; carol@example.net",
    ]
    assert [group["Status"] for group in recipients] == ["5.1.1", "5.2.2"]


@pytest.mark.parametrize(
    ("action", "status", "expired", "written"),
    [
        (Action.FAILED, "", False, "5.0.0"),
        (Action.FAILED, "", True, "4.4.7"),
        (Action.FAILED, "4.2.1", True, "4.2.1"),
        (Action.FAILED, "2.0.0", False, "5.0.0"),
        (Action.FAILED, "5.1", False, "5.0.0"),
        (Action.FAILED, "5.1.1\r\nX: y", False, "5.0.0"),
        (Action.DELAYED, "", False, "4.0.0"),
        (Action.DELAYED, "4.2.2", False, "4.2.2"),
        (Action.DELAYED, "5.7.1", False, "4.7.1"),
        (Action.DELAYED, "2.0.0", False, "4.0.0"),
        (Action.RELAYED, "", False, "2.0.0"),
        (Action.RELAYED, "2.1.5", False, "2.1.5"),
        (Action.RELAYED, "5.1.1", False, "2.0.0"),
        (Action.DELIVERED, "4.2.2", False, "2.0.0"),
    ],
)
def test_status_has_always_the_class_of_the_action(action: Action, status: str, expired: bool, written: str) -> None:
    assert groups(compose(BOB._replace(action=action, status=status, expired=expired)))[1]["Status"] == written


@pytest.mark.parametrize("orcpt", ["rfc822", "rfc822;", ";bob@example.net", "rfc\r\n822;bob@example.net", ""])
def test_malformed_original_recipient_is_left_out(orcpt: str) -> None:
    assert "Original-Recipient" not in groups(compose(BOB._replace(orcpt=orcpt)))[1]


def test_spaces_of_a_quoted_local_part_survive() -> None:
    address = '"bob  ' + "b" * 80 + ' x"@example.net'
    folded = groups(compose(BOB._replace(address=address)))[1]["Final-Recipient"]
    assert folded.replace("\r\n", "").replace("\n", "") == f"rfc822; {address}"


# --- delays and successes -------------------------------------------------------------------------------------------


def test_a_delay_tells_until_when_it_is_tried_and_that_nothing_need_be_done() -> None:
    report = compose(CAROL, full=False)
    assert parse(report)[0]["Subject"] == "Your message is delayed"
    _, (carol,) = status(report)
    assert list(carol.items()) == [
        ("Final-Recipient", "rfc822; carol@example.net"),
        ("Action", "delayed"),
        ("Status", "4.2.2"),
        ("Remote-MTA", "dns; mx.example.net"),
        ("Diagnostic-Code", "smtp; 452 4.2.2 mailbox full"),
        ("Last-Attempt-Date", "Tue, 14 Nov 2023 22:15:00 +0000"),
        ("Will-Retry-Until", "Wed, 15 Nov 2023 22:13:20 +0000"),
    ]
    assert read_date(carol["Will-Retry-Until"]).timestamp() == RETRY_UNTIL
    text = flowing(report)
    assert "It will be tried again until Wed, 15 Nov 2023 22:13:20 +0000." in text
    assert "there is nothing that you need to do" in text
    assert "The mailbox is full. mx.example.net said: 452 4.2.2 mailbox full" in text
    assert "will not be tried again" not in text


def test_a_delay_whose_end_is_not_known_names_none() -> None:
    report = compose(CAROL, retry_until=0.0)
    assert "Will-Retry-Until" not in status(report)[1][0]
    assert "It will be tried again. This" in flowing(report)


def test_a_relayed_message_is_the_last_that_is_heard_of_it() -> None:
    report = compose(DAVE, full=False)
    assert parse(report)[0]["Subject"] == "Your message was passed on"
    _, (dave,) = status(report)
    assert (dave["Action"], dave["Status"]) == ("relayed", "2.0.0")
    assert dave["Diagnostic-Code"] == "smtp; 250 2.0.0 queued as 17"
    text = flowing(report)
    assert "does not report what it delivers. So no further report will come to tell you that it arrived" in text
    assert "could not be delivered" not in text and "No reason" not in text


def test_a_delivered_message() -> None:
    report = compose(EVE, full=False)
    assert parse(report)[0]["Subject"] == "Your message was delivered"
    _, (eve,) = status(report)
    assert eve == {"Final-Recipient": "rfc822; eve@example.net", "Action": "delivered", "Status": "2.0.0"}
    assert "It was delivered to this recipient:" in flowing(report)
    assert "No reason" not in readable(report)


def test_one_report_tells_of_several_actions_the_worst_first() -> None:
    report = compose(EVE, DAVE, BOB, CAROL, BOB._replace(address="frank@example.net"))
    names = ["bob", "frank", "carol", "dave", "eve"]
    _, recipients = status(report)
    assert [group["Final-Recipient"] for group in recipients] == [f"rfc822; {name}@example.net" for name in names]
    assert [group["Action"] for group in recipients] == ["failed", "failed", "delayed", "relayed", "delivered"]
    text = flowing(report)
    told = [text.index(f"<{name}@example.net>") for name in names]
    assert told == sorted(told)
    said = [text.index(words) for words in ("these 2 recipients", "so far", "passed on", "was delivered to this")]
    assert sorted([*said, *told]) == [said[0], told[0], told[1], said[1], told[2], said[2], told[3], said[3], told[4]]


@pytest.mark.parametrize(
    ("actions", "subject"),
    [
        ("failed failed", "Your message could not be delivered"),
        ("failed relayed", "Your message could not be delivered to all recipients"),
        ("failed delayed delivered", "Your message could not be delivered to all recipients"),
        ("delayed relayed", "What became of your message"),
        ("relayed delivered", "What became of your message"),
    ],
)
def test_the_subject_fits_what_is_told(actions: str, subject: str) -> None:
    assert report_subject([Action(action) for action in actions.split()]) == subject


@pytest.mark.parametrize("action", list(Action))
def test_what_no_receiver_said_is_not_put_into_its_mouth(action: Action) -> None:
    report = compose(BOB._replace(action=action, diagnostic="Connection refused", replied=False))
    assert status(report)[1][0]["Diagnostic-Code"] == "x-smtpeter; Connection refused"
    assert "What was recorded: Connection refused" in flowing(report)
    assert "said:" not in readable(report)


def test_a_report_stands_beside_what_it_is_about() -> None:
    message, _ = parse(compose(original=b"Message-ID: <1@example.org>\r\nSubject: x\r\n\r\ny\r\n"))
    assert (message["In-Reply-To"], message["References"]) == ("<1@example.org>", "<1@example.org>")


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"1@example.org",
        b"<1>",
        b"<1@x> <2@y>",
        b"<1@x\r\n y>",
        b"<\xe9@x>",
        b"<a b@x>",
        b"<" + b"1" * 500 + b"@x>",
    ],
)
def test_a_message_id_that_is_none_is_not_referred_to(written: bytes) -> None:
    report = compose(original=b"Message-ID: " + written + b"\r\nSubject: x\r\n\r\ny\r\n")
    assert_lines_are_legal(report)
    assert "References" not in parse(report)[0]


# --- international mail (RFC 6533) ----------------------------------------------------------------------------------

JOSE = BOB._replace(address="josé@exämple.net", orcpt=r"utf-8;jos\x{E9}@example.net", diagnostic="550 kein Empfänger")


def test_international_report_is_written_in_utf_8() -> None:
    report = compose(JOSE, smtputf8=True, to="änn@example.org", original=b"Subject: h\xc3\xa9\r\n\r\nx\r\n")
    message, parts = parse(report)
    assert [part.get_content_type() for part in parts] == [
        "text/plain",
        "message/global-delivery-status",
        "message/global",
    ]
    assert [part["Content-Transfer-Encoding"] for part in parts] == ["quoted-printable", "8bit", "8bit"]
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert "To: <änn@example.org>\r\n" in report.decode()
    machine = raw_part(report, 2).decode()
    assert "Original-Recipient: utf-8; josé@example.net\r\n" in machine
    assert "Final-Recipient: utf-8; josé@exämple.net\r\n" in machine
    assert "Diagnostic-Code: smtp; 550 kein Empfänger\r\n" in machine


def test_international_address_in_an_ascii_report_keeps_its_meaning() -> None:
    report = compose(JOSE)
    assert report.isascii()
    bob = groups(report)[1]
    assert bob["Final-Recipient"] == r"utf-8; jos\x{E9}@ex\x{E4}mple.net"
    assert bob["Original-Recipient"] == r"utf-8; jos\x{E9}@example.net"
    assert bob["Diagnostic-Code"] == "smtp; 550 kein Empf?nger"
    assert "josé@exämple.net" in readable(report)


def test_international_header_only_return() -> None:
    report = compose(JOSE, smtputf8=True, full=False, original=b"Subject: h\xc3\xa9\r\n\r\nbody\r\n")
    assert parse(report)[1][2].get_content_type() == "message/global-headers"
    assert raw_part(report, 3) == b"Subject: h\xc3\xa9\r\n"


def test_hidden_controls_in_an_embedded_address_stay_hidden() -> None:
    hostile = BOB._replace(orcpt=r"utf-8;a\x{0D}\x{0A}Evil:x\x{110000}@example.net")
    machine = raw_part(compose(hostile, smtputf8=True), 2)
    assert rb"utf-8; a\x{0D}\x{0A}Evil:x\x{110000}@example.net" in machine


# --- what comes back ------------------------------------------------------------------------------------------------


def test_full_return_is_octet_by_octet() -> None:
    original = b"Subject: x\r\n\r\nlatin \xe9 and no line end"
    report = compose(original=original)
    assert raw_part(report, 3) == original
    message, parts = parse(report)
    assert parts[2]["Content-Transfer-Encoding"] == "8bit"
    assert message["Content-Transfer-Encoding"] == "8bit"


def test_header_only_return() -> None:
    report = compose(full=False)
    part = parse(report)[1][2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert raw_part(report, 3) == b"From: ann@example.org\r\nSubject: Lunch on Friday\r\n"
    assert b"Dear Bob" not in report
    assert "The header of the message comes back" in readable(report)


def test_eight_bit_header_comes_back_in_quoted_printable() -> None:
    report = compose(full=False, original=b"Subject: h\xe9\r\n\r\nx\r\n")
    part = parse(report)[1][2]
    assert part["Content-Transfer-Encoding"] == "quoted-printable"
    assert part.get_payload(decode=True) == b"Subject: h\xe9\r\n"
    assert report.isascii()


@pytest.mark.parametrize("smtputf8", [False, True])
def test_lines_that_no_report_can_carry(smtputf8: bool) -> None:
    body = b"Subject: x\r\n\r\n" + b"y" * 999 + b"\r\n"
    report = compose(original=body, smtputf8=smtputf8)
    assert_lines_are_legal(report)
    assert raw_part(report, 3) == b"Subject: x\r\n"

    header = b"Subject: " + b"y" * 2000 + b"\r\n"
    report = compose(original=header + b"\r\nbody\r\n", smtputf8=smtputf8)
    assert_lines_are_legal(report)
    part = parse(report)[1][2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert part.get_payload(decode=True) == header


@pytest.mark.parametrize("smtputf8", [False, True])
def test_a_nul_that_no_report_can_carry(smtputf8: bool) -> None:
    report = compose(original=b"Subject: x\r\n\r\na\0b\r\n", smtputf8=smtputf8)
    assert_lines_are_legal(report)
    assert raw_part(report, 3) == b"Subject: x\r\n"

    report = compose(original=b"Subject: a\0b\r\n\r\nx\r\n", smtputf8=smtputf8)
    assert_lines_are_legal(report)
    assert parse(report)[1][2].get_payload(decode=True) == b"Subject: a\0b\r\n"


def test_line_of_998_octets_comes_back_whole() -> None:
    original = b"Subject: x\r\n\r\n" + b"y" * 998 + b"\r\n"
    assert raw_part(compose(original=original), 3) == original


@pytest.mark.parametrize("original", [b"", b"\r\nonly a body\r\n", b"no header at all\r\n", b"Subject: cut"])
@pytest.mark.parametrize("full", [False, True])
def test_originals_that_are_hardly_messages(original: bytes, full: bool) -> None:
    report = compose(original=original, full=full)
    assert_lines_are_legal(report)
    if full:
        assert raw_part(report, 3) == original


# --- attacks --------------------------------------------------------------------------------------------------------


def test_content_that_knows_the_boundary_cannot_end_its_part() -> None:
    evil = b"Subject: x\r\n\r\n--BOUND--\r\n--BOUND.1\r\nContent-Type: text/html\r\n\r\n<b>\r\n"
    report = compose(original=evil, boundary="BOUND")
    assert parse(report)[0].get_boundary() == "BOUND.2"
    assert raw_part(report, 3) == evil
    assert report == compose(original=evil, boundary="BOUND")


def test_diagnostic_that_brings_fields_and_parts_of_its_own() -> None:
    evil = "550 no\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; eve@example.org\r\n--=_0123456789abcdef--"
    report = compose(BOB._replace(diagnostic=evil, remote_mta="mx\r\nStatus: 2.0.0"))
    _, bob = groups(report)
    assert bob.get_all("Action") == ["failed"]
    assert bob.get_all("Status") == ["5.1.1"]
    assert bob.get_all("Final-Recipient") == ["rfc822; bob@example.net"]


def test_addresses_that_bring_fields_of_their_own() -> None:
    report = compose(
        BOB._replace(address="bob@example.net\r\nAction: delivered", orcpt="rfc822;x+0D+0AStatus:+202.0.0"),
        to="ann@example.org>, <eve@example.org\r\nBcc: eve@example.org",
        envid="id+0D+0A+0D+0AFinal-Recipient: rfc822; eve@example.org",
    )
    message, _ = parse(report)
    assert "Bcc" not in message
    assert "<eve@example.org" not in message["To"]
    own, bob = groups(report)
    assert own.keys() == ["Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"]
    assert bob.get_all("Action") == ["failed"]
    assert bob.get_all("Status") == ["5.1.1"]


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("replied", [True, False])
def test_no_action_can_be_made_another(action: Action, replied: bool) -> None:
    """What receivers say stands in reports of success and of delay too."""
    evil = "ok\r\nAction: failed\r\nWill-Retry-Until: never\r\n\r\nFinal-Recipient: rfc822; eve@example.org\u2028x\x85y"
    hostile = ReportedRecipient(
        address=f"bob@example.net\r\n{evil}",
        action=action,
        orcpt=f"rfc822;{evil}",
        status=f"2.0.0\r\n{evil}",
        diagnostic=evil,
        replied=replied,
        remote_mta=f"mx\r\n{evil}",
    )
    for smtputf8 in (False, True):
        own, (bob,) = status(compose(hostile, envid=f"id+0D+0A{evil}", smtputf8=smtputf8))
        assert bob["Action"] == action
        assert bob["Final-Recipient"].startswith("rfc822; bob@example.net  ok")
        assert ("Will-Retry-Until" in bob) == (action is Action.DELAYED)
        assert bob.get("Will-Retry-Until", "") != "never"
        assert list(own) == ["Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"]


def test_a_message_id_that_brings_fields_of_its_own() -> None:
    evil = b"Message-ID: <1@x>\r\n\tBcc: eve@example.org\r\nSubject: =?utf-8?q?a=0D=0ABcc:_eve=40example.org?=\r\n"
    message, _ = parse(compose(original=evil + b"\r\ny\r\n"))
    assert "Bcc" not in message and "References" not in message


hostile_text = st.text(max_size=2000) | st.text(alphabet="\r\n\t \0é:;-=_+<>\u2028\U0001f600ab", max_size=2000)
hostile_recipient = st.builds(
    ReportedRecipient,
    address=hostile_text,
    action=st.sampled_from(Action),
    orcpt=st.none() | hostile_text | hostile_text.map("rfc822;".__add__) | hostile_text.map("utf-8;".__add__),
    status=hostile_text | st.sampled_from(["5.1.1", "4.2.2", "2.0.0"]),
    diagnostic=hostile_text,
    replied=st.booleans(),
    remote_mta=hostile_text,
    last_attempt=st.floats(0, 4e9),
    expired=st.booleans(),
)


@given(
    recipients=st.lists(hostile_recipient, min_size=1, max_size=3),
    envid=st.none() | hostile_text,
    message_id=st.binary(max_size=300),
    retry_until=st.floats(0, 4e9),
    full=st.booleans(),
    smtputf8=st.booleans(),
)
def test_hostile_text_changes_nothing_but_values(
    recipients: list[ReportedRecipient],
    envid: str | None,
    message_id: bytes,
    retry_until: float,
    full: bool,
    smtputf8: bool,
) -> None:
    original = b"Message-ID: <" + message_id.replace(b"\r", b"").replace(b"\n", b"") + b"@x>\r\n" + ORIGINAL
    report = compose(*recipients, original=original, envid=envid, retry_until=retry_until, full=full, smtputf8=smtputf8)
    assert_lines_are_legal(report)
    assert smtputf8 or report.split(b"message/rfc822")[0].isascii()
    boundary = parse(report)[0].get_boundary()
    assert boundary is not None
    assert report.count(b"--" + boundary.encode()) == 4
    _, groups = status(report)
    assert sorted(group["Action"] for group in groups) == sorted(recipient.action for recipient in recipients)
    for group in groups:
        assert ("Will-Retry-Until" in group) == (group["Action"] == "delayed" and retry_until > 0)


@given(st.lists(st.sampled_from([BOB, CAROL, DAVE, EVE, JOSE]), min_size=1, max_size=6), st.booleans())
def test_a_plain_report_is_read_alike_by_two_readers(recipients: list[ReportedRecipient], smtputf8: bool) -> None:
    report = compose(*recipients, smtputf8=smtputf8, envid="QQ+2B1")
    own, read = status(report)
    if smtputf8:
        return  # the standard library does not look into message/global-delivery-status
    unfolded = [{name: " ".join(value.split()) for name, value in group.items()} for group in groups(report)]
    assert unfolded == [{name: " ".join(value.split()) for name, value in group.items()} for group in (own, *read)]
