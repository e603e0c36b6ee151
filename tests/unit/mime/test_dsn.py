"""Reports of failed delivery: read back with a parser that is not ours, and fed with what an enemy would write."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.mime.dsn import ReportedRecipient, compose_failure

ORIGINAL = b"From: ann@example.org\r\nSubject: Lunch on Friday\r\n\r\nDear Bob,\r\n.\r\nsee you\r\n"
BOB = ReportedRecipient(
    address="bob@example.net",
    orcpt="rfc822;Bob+2Bx@example.net",
    status="5.1.1",
    diagnostic="550 5.1.1 no such user",
    remote_mta="mx.example.net",
    last_attempt=1_700_000_100.0,
    expired=False,
)


def compose(
    *recipients: ReportedRecipient,
    original: bytes = ORIGINAL,
    full: bool = True,
    smtputf8: bool = False,
    boundary: str = "=_0123456789abcdef",
    envid: str | None = None,
    to: str = "ann@example.org",
) -> bytes:
    return compose_failure(
        reporting_mta="mail.example.com",
        postmaster="postmaster@mail.example.com",
        to=to,
        message_id="19c0ffee@mail.example.com",
        date=1_700_000_200.0,
        boundary=boundary,
        envid=envid,
        arrival=1_700_000_000.0,
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


def readable(report: bytes) -> str:
    content = parse(report)[1][0].get_content()
    assert isinstance(content, str)
    return content


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
    assert "as long as" in text
    assert "The mailbox is full." in text


def test_readable_part_without_any_reason() -> None:
    text = readable(compose(BOB._replace(status="", diagnostic="", remote_mta="")))
    assert "No reason was recorded." in text
    assert "said:" not in text


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
        ("Reporting-MTA", "dns; mail.example.com"),
        ("Original-Envelope-Id", "QQ+314159"),
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
    own, bob = groups(compose(ReportedRecipient("bob@example.net", None, "5.4.4", "", "", 0.0, False)))
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
    ("status", "expired", "written"),
    [
        ("", False, "5.0.0"),
        ("", True, "4.4.7"),
        ("4.2.1", True, "4.2.1"),
        ("2.0.0", False, "5.0.0"),
        ("5.1", False, "5.0.0"),
        ("5.1.1\r\nX: y", False, "5.0.0"),
    ],
)
def test_status_is_always_one_of_a_failure(status: str, expired: bool, written: str) -> None:
    assert groups(compose(BOB._replace(status=status, expired=expired)))[1]["Status"] == written


@pytest.mark.parametrize("orcpt", ["rfc822", "rfc822;", ";bob@example.net", "rfc\r\n822;bob@example.net", ""])
def test_malformed_original_recipient_is_left_out(orcpt: str) -> None:
    assert "Original-Recipient" not in groups(compose(BOB._replace(orcpt=orcpt)))[1]


def test_spaces_of_a_quoted_local_part_survive() -> None:
    address = '"bob  ' + "b" * 80 + ' x"@example.net'
    folded = groups(compose(BOB._replace(address=address)))[1]["Final-Recipient"]
    assert folded.replace("\r\n", "").replace("\n", "") == f"rfc822; {address}"


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
    assert own.keys() == ["Reporting-MTA", "Original-Envelope-Id", "Arrival-Date"]
    assert bob.get_all("Action") == ["failed"]
    assert bob.get_all("Status") == ["5.1.1"]


hostile_text = st.text(max_size=2000) | st.text(alphabet="\r\n\t \0é:;-=_+<>\u2028\U0001f600ab", max_size=2000)
hostile_recipient = st.builds(
    ReportedRecipient,
    address=hostile_text,
    orcpt=st.none() | hostile_text | hostile_text.map("rfc822;".__add__) | hostile_text.map("utf-8;".__add__),
    status=hostile_text | st.just("5.1.1"),
    diagnostic=hostile_text,
    remote_mta=hostile_text,
    last_attempt=st.floats(0, 4e9),
    expired=st.booleans(),
)
EXPECTED = {
    "original-recipient",
    "final-recipient",
    "action",
    "status",
    "remote-mta",
    "diagnostic-code",
    "last-attempt-date",
}


@given(st.lists(hostile_recipient, min_size=1, max_size=3), st.none() | hostile_text, st.booleans(), st.booleans())
def test_hostile_text_changes_nothing_but_values(
    recipients: list[ReportedRecipient], envid: str | None, full: bool, smtputf8: bool
) -> None:
    report = compose(*recipients, envid=envid, full=full, smtputf8=smtputf8)
    assert_lines_are_legal(report)
    assert smtputf8 or report.isascii()
    boundary = parse(report)[0].get_boundary()
    assert boundary is not None
    assert report.count(b"--" + boundary.encode()) == 4

    blocks = raw_part(report, 2).removesuffix(b"\r\n").split(b"\r\n\r\n")
    assert len(blocks) == 1 + len(recipients)
    for block in blocks[1:]:
        unfolded = block.replace(b"\r\n ", b" ")
        fields = [line.split(b":", 1)[0].decode().lower() for line in unfolded.split(b"\r\n")]
        assert set(fields) <= EXPECTED
        assert len(fields) == len(set(fields))
        assert b"\r\nAction: failed\r\n" in unfolded
    assert all(line.strip() for block in blocks for line in block.split(b"\r\n"))
