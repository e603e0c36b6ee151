"""The same message handed over again by SMTP under its key: a real server in capture mode, real clients."""

from __future__ import annotations

import smtplib

import pytest

from tests.integration.gateway import send

SENDER = "a@example.com"


def message(key, body=b"fine\r\n"):
    return b"X-SMTPeter-Idempotency-Key: %s\r\nSubject: Hello\r\n\r\n%s" % (key, body)


def rows(gateway, domain):
    """Address and id of everybody who was taken at a domain of the test's own."""
    return sorted((row["recipient"], row["id"]) for row in gateway.json("message", "list", "--domain", domain))


@pytest.mark.parametrize("body", [b"fine\r\n", (b"x" * 998 + b"\r\n") * 500], ids=["small", "large"])
def test_what_was_taken_before_is_answered_as_before_and_not_taken_again(gateway, body):
    domain = f"again-{len(body)}.example"
    to = [f"b@{domain}", f"c@{domain}"]
    key = domain.encode()
    with gateway.connect(gateway.login) as client:
        first = send(client, SENDER, to, message(key, body))
        assert send(client, SENDER, to, message(key, body)) == first
    with gateway.connect(gateway.login) as client:
        assert send(client, SENDER, to, message(key, b"something else\r\n")) == first  # no conflict is ever refused
    assert rows(gateway, domain) == [(to[0], f"{first}-1"), (to[1], f"{first}-2")]
    assert gateway.raw(f"{first}-2").endswith(b"\r\n\r\n" + body)


def test_an_mta_that_splits_a_message_has_each_recipient_taken_once(gateway):
    """RFC 5321 section 4.5.4.1: what failed in part is tried again with the recipients that are left, or with all."""
    b, c, d = (f"{name}@split.example" for name in "bcd")
    with gateway.connect(gateway.login) as client:
        first = send(client, SENDER, [b], message(b"split"))
        second = send(client, SENDER, [b, c, d], message(b"split"))
        third = send(client, SENDER, [d, c], message(b"split"))
    assert first != second
    assert third.partition("-")[0] == second
    assert rows(gateway, "split.example") == [(b, first), (c, f"{second}-1"), (d, f"{second}-2")]


def test_another_key_and_no_key_are_other_messages(gateway):
    to = ["b@other.example"]
    with gateway.connect(gateway.login) as client:
        ids = {send(client, SENDER, to, message(key)) for key in (b"one", b"two")}
        ids |= {send(client, SENDER, to, b"Subject: Hello\r\n\r\nfine\r\n") for _ in range(2)}
    assert {id for _, id in rows(gateway, "other.example")} == ids and len(ids) == 4


def test_a_key_is_its_accounts(gateway):
    gateway.run("account", "add", "another@example.com")
    other = gateway.json("login", "add", "--account", "another@example.com")
    ids = []
    for login in (gateway.login, (other["username"], other["password"])):
        with gateway.connect(login) as client:
            ids.append(send(client, SENDER, ["b@accounts.example"], message(b"shared")))
    assert [id for _, id in rows(gateway, "accounts.example")] == sorted(ids) and ids[0] != ids[1]


def test_a_key_is_known_after_a_kill(gateway):
    to = ["b@killed.example"]
    with gateway.connect(gateway.login) as client:
        first = send(client, SENDER, to, message(b"killed"))
    gateway.kill()
    gateway.start()
    with gateway.connect(gateway.login) as client:
        assert send(client, SENDER, to, message(b"killed")) == first
    assert rows(gateway, "killed.example") == [(to[0], first)]


def test_a_key_that_cannot_be_is_refused_with_the_fields_name(gateway):
    with gateway.connect(gateway.login) as client, pytest.raises(smtplib.SMTPDataError) as caught:
        client.sendmail(SENDER, ["b@unfit.example"], message(b"x" * 256))
    assert caught.value.smtp_code == 554 and b"X-SMTPeter-Idempotency-Key" in caught.value.smtp_error
    assert rows(gateway, "unfit.example") == []


def test_local_parts_that_differ_by_their_case_are_two_recipients(gateway):
    """RFC 5321 section 2.4; domains are the same in any case."""
    with gateway.connect(gateway.login) as client:
        first = send(client, SENDER, ["Joe@case.example", "joe@case.example", "joe@CASE.example"], message(b"case"))
    assert rows(gateway, "case.example") == [("Joe@case.example", f"{first}-1"), ("joe@case.example", f"{first}-2")]


def test_a_login_that_tags_all_its_mail(gateway):
    account = gateway.json("login", "list")[0]["account"]
    login = gateway.json("login", "add", "--account", account, "--enable", "tags=shop, autumn")
    with gateway.connect((login["username"], login["password"])) as client:
        send(client, SENDER, ["b@tagged.example"], message(b"tagged"))
        send(client, SENDER, ["c@tagged.example"], b"X-SMTPeter-Tags: other\r\n" + message(b"tagged"))
    tagged = {row["recipient"]: row["tags"] for row in gateway.json("message", "list", "--domain", "tagged.example")}
    assert tagged == {"b@tagged.example": ["shop", "autumn"], "c@tagged.example": ["other"]}
