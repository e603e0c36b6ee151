"""Whose trouble an answer tells of: a corpus of answers as providers and servers give them, in our own words."""

# ruff: noqa: E501 (each answer of the corpus is one line)

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.delivery.classify import Classifier, load, read_classifier, without_addresses
from smtpeter.errors import ConfigError
from smtpeter.model.delivery import FailureKind, Outcome, OutcomeKind
from smtpeter.model.reply import TEXT_LIMIT

HARD, SOFT = FailureKind.RECIPIENT_HARD, FailureKind.RECIPIENT_SOFT
REPUTATION, CONTENT, POLICY = FailureKind.REPUTATION, FailureKind.CONTENT, FailureKind.POLICY
NETWORK, CONFIGURATION = FailureKind.NETWORK, FailureKind.CONFIGURATION

CORPUS = [
    # nobody there
    (550, "5.1.1", "rcpt", "The email account you tried to reach is not there. gsmtp", HARD),
    (550, "5.1.1", "rcpt", "<a@example.com>: Recipient address rejected: User unknown in virtual table", HARD),
    (550, "5.1.10", "rcpt", "RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup", HARD),
    (556, "5.1.10", "route", "The domain takes no mail (null MX)", HARD),
    (550, "5.1.2", "route", "There is no such domain", HARD),
    (550, "5.5.0", "rcpt", "Requested action not taken: mailbox unavailable (S2017062302)", HARD),
    (550, "5.4.1", "rcpt", "Recipient address rejected: Access denied. AS(201806281)", HARD),
    (554, "", "end", "delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [0]", HARD),
    (554, "", "rcpt", "30 Sorry, mail to a@aol.com cannot be delivered. This mailbox is disabled (554.30).", HARD),
    (550, "", "rcpt", "Requested action not taken: mailbox unavailable", HARD),
    (550, "", "rcpt", "No such user here", HARD),
    (550, "", "rcpt", "<a@example.com> Unrouteable address", HARD),
    (550, "", "rcpt", "Mailbox not found. http://service.mail.example/1", HARD),
    (550, "5.1.1", "rcpt", "a@mail.ru: user not found", HARD),
    (550, "5.7.1", "rcpt", "No such user! x-Yandex 1700000000", HARD),
    (550, "5.2.1", "rcpt", "The account a@example.com is disabled", HARD),
    (550, "5.2.1", "rcpt", "The email account that you tried is inactive. gsmtp", HARD),
    (511, "5.1.1", "rcpt", "a@example.com recipient address unknown", HARD),
    (550, "5.0.0", "rcpt", "a@example.com... User unknown", HARD),
    (553, "5.3.0", "rcpt", "<a@example.com>... No such user here", HARD),
    (550, "", "rcpt", "Not our Customer", HARD),
    (550, "5.1.0", "rcpt", "a@example.com recipient rejected", HARD),
    (550, "", "rcpt", "5.1.1 Adresse d'au moins un destinataire invalide. LPN007_405", HARD),
    (550, "", "rcpt", "Empfaenger: Benutzer unbekannt", HARD),
    (551, "", "rcpt", "User has moved", HARD),
    (550, "", "rcpt", "", HARD),
    (550, "5.4.310", "route", "The domain of the recipient is not in DNS", HARD),
    (550, "", "rcpt", "RCPT (a@163.com) dosn't exist: User not found", HARD),
    # somebody there, but not now
    (452, "4.2.2", "rcpt", "The account is over quota", SOFT),
    (552, "5.2.2", "rcpt", "Mailbox full", SOFT),
    (552, "", "rcpt", "Requested mail action aborted: exceeded storage allocation", SOFT),
    (550, "5.7.1", "rcpt", "The mailbox is full and takes no more", SOFT),
    (554, "", "end", "delivery error: dd Sorry, a@yahoo.com is over quota [0]", SOFT),
    (450, "4.2.1", "rcpt", "The user you write to is receiving mail too quickly. gsmtp", SOFT),
    (550, "5.2.1", "rcpt", "The user you write to is receiving mail at a rate that is too high. gsmtp", SOFT),
    (450, "4.1.1", "rcpt", "<a@example.com>: Recipient address rejected: unverified address", SOFT),
    (450, "", "rcpt", "Requested mail action not taken: mailbox busy", SOFT),
    (422, "4.2.2", "rcpt", "Quota limit exceeded", SOFT),
    (451, "4.2.0", "rcpt", "Mailbox has exceeded its size limit", SOFT),
    (554, "5.2.0", "end", "STOREDRV.Deliver.Exception: the store said no", SOFT),
    # our address or host
    (550, "5.7.1", "mail", "Mail from [192.0.2.1] was not sent: part of their network is on our block list (S3150).", REPUTATION),
    (550, "5.7.1", "mail", "Service unavailable, Client host [192.0.2.1] blocked using Spamhaus. AS16012611", REPUTATION),
    (550, "5.7.606", "mail", "Access denied, banned sending IP [192.0.2.1]. AS16012609", REPUTATION),
    (550, "5.7.511", "mail", "Access denied, banned sender[192.0.2.1]", REPUTATION),
    (451, "4.7.650", "mail", "The mail server [192.0.2.1] is rate limited because of IP reputation. (S775)", REPUTATION),
    (451, "4.7.500", "rcpt", "Server busy. Later from [192.0.2.1]. (AS77712344)", REPUTATION),
    (451, "4.7.652", "mail", "The mail server [192.0.2.1] has exceeded the maximum number of connections. (S3115)", REPUTATION),
    (421, "4.7.28", "end", "[192.0.2.1] Gmail has seen an unusual rate of mail. gsmtp", REPUTATION),
    (421, "4.7.0", "end", "We saw an unusual rate of unsolicited mail originating from your IP address. gsmtp", REPUTATION),
    (550, "5.7.1", "end", "[192.0.2.1] We take this for spam due to the very low reputation of the sending IP. gsmtp", REPUTATION),
    (550, "5.7.25", "mail", "[192.0.2.1] The sending address has no PTR record. gsmtp", REPUTATION),
    (421, "4.7.0", "greeting", "[TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints", REPUTATION),
    (553, "5.7.1", "greeting", "[BL21] Connections will not be taken from 192.0.2.1: the ip is in Spamhaus's list", REPUTATION),
    (554, "", "greeting", "example.net Nemesis ESMTP Service not available No SMTP service IP address is block listed.", REPUTATION),
    (554, "", "greeting", "No SMTP service Bad DNS PTR resource record.", REPUTATION),
    (554, "", "greeting", "IP=192.0.2.1 - None/bad reputation. (NOWL)", REPUTATION),
    (554, "", "greeting", "IP=192.0.2.1 - A problem occurred. (BL)", REPUTATION),
    (554, "", "greeting", "Dialup/transient IP not allowed. (DIAL)", REPUTATION),
    (554, "", "greeting", "Go away", REPUTATION),
    (421, "", "greeting", "mwinf5c01 ME Trop de connexions. Too many connections, slow down. OFR004_104", REPUTATION),
    (550, "", "greeting", "mwinf5c04 ME Adresse IP source bloquee. OFR006_102 [102]", REPUTATION),
    (550, "", "mail", "5.1.0 192.0.2.1 is not allowed to send mail. Error code: BL000001", REPUTATION),
    (554, "", "mail", "resimta-01 comcast 192.0.2.1 Comcast requires that all mail servers have a PTR record", REPUTATION),
    (550, "", "mail", "Connection frequency limited. http://service.mail.example/2", REPUTATION),
    (550, "", "greeting", "Ip frequency limited", REPUTATION),
    (421, "", "hello", "HL:ICC 163 mx1,192.0.2.1 1700000000", REPUTATION),
    (554, "5.7.1", "rcpt", "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", REPUTATION),
    (554, "", "rcpt", "Your access to this mail system was rejected due to the sending MTA's poor reputation.", REPUTATION),
    (550, "5.7.1", "rcpt", "Email rejected: 192.0.2.1 is listed at bl.spamcop.net", REPUTATION),
    (554, "", "greeting", "Blocked - see ipcheck.example for 192.0.2.1", REPUTATION),
    (450, "4.7.1", "rcpt", "Client host rejected: cannot find your reverse hostname, [192.0.2.1]", REPUTATION),
    (550, "5.7.1", "rcpt", "Client host rejected: access denied", REPUTATION),
    (504, "5.5.2", "rcpt", "<localhost>: Helo command rejected: need fully-qualified hostname", REPUTATION),
    (421, "4.7.0", "greeting", "mx.example.net Error: too many connections from 192.0.2.1", REPUTATION),
    (571, "", "greeting", "Delivery not authorized", REPUTATION),
    # the message
    (550, "5.7.1", "end", "[192.0.2.1 12] We found that this message is likely unsolicited mail; it has been blocked. gsmtp", CONTENT),
    (552, "5.7.0", "end", "This message was blocked because its content is a security issue. gsmtp", CONTENT),
    (552, "5.3.4", "mail", "Message size exceeds fixed limit", CONTENT),
    (552, "", "end", "Message too large", CONTENT),
    (554, "5.7.1", "end", "Message contains a link to a domain listed at dbl.spamhaus.org", CONTENT),
    (554, "5.7.1", "end", "Spam message rejected", CONTENT),
    (550, "5.7.1", "end", "message contains a virus", CONTENT),
    (550, "", "end", "Mail content denied. http://service.mail.example/3", CONTENT),
    (554, "", "end", "DT:SPM 163 mx2", CONTENT),
    (554, "", "end", "Transaction failed", CONTENT),
    (554, "5.6.0", "end", "Malformed MIME", CONTENT),
    (554, "5.6.3", "mail", "Conversion required but not possible", CONTENT),
    (550, "5.2.0", "end", "mwinf5c01 ME Mail rejected. OFR_506 [506]", CONTENT),
    (550, "5.7.1", "end", "[CS01] Message rejected due to local policy.", CONTENT),
    # policy
    (550, "5.7.26", "end", "Unauthenticated email from example.com is refused due to the domain's DMARC policy. gsmtp", POLICY),
    (550, "5.7.1", "end", "Email rejected per DMARC policy for example.com", POLICY),
    (550, "5.7.509", "end", "Access denied, the domain example.com does not pass DMARC", POLICY),
    (550, "5.7.515", "end", "Access denied, the sending domain does not meet the level of authentication", POLICY),
    (550, "", "rcpt", "<a@gmx.net>: Reject due to SPF policy. The originating IP is not permitted by the domain", POLICY),
    (550, "5.7.23", "rcpt", "SPF validation failed", POLICY),
    (554, "5.7.9", "end", "Message not accepted for policy reasons", POLICY),
    (550, "5.7.1", "mail", "<b@example.org>: Sender address rejected: not allowed here", POLICY),
    (450, "4.1.8", "rcpt", "<b@example.org>: Sender address rejected: Domain not found", POLICY),
    (550, "5.1.8", "mail", "Sender's domain is not in DNS", POLICY),
    (450, "4.2.0", "rcpt", "<a@example.com>: Recipient address rejected: Greylisted, see postgrey", POLICY),
    (451, "4.7.1", "rcpt", "Greylisting in action, come back in 5 minutes", POLICY),
    (451, "4.7.1", "end", "Try again later", POLICY),
    (452, "4.5.3", "rcpt", "Too many recipients", POLICY),
    (550, "5.7.133", "rcpt", "RESOLVER.RST.SenderNotAuthenticatedForGroup", POLICY),
    (550, "5.7.1", "mail", "TLS required for the domain", POLICY),
    (550, "5.7.1", "end", "Domain frequency limited", POLICY),
    (550, "5.7.1", "rcpt", "Administrative prohibition", POLICY),
    # servers and the way there
    (0, "4.4.1", "connect", "Connection refused", NETWORK),
    (0, "4.4.2", "end", "Timeout: the receiver was too slow (end)", NETWORK),
    (0, "4.4.3", "route", "The name servers do not answer", NETWORK),
    (0, "4.5.0", "rcpt", "The receiver broke the protocol: no number", NETWORK),
    (421, "4.3.2", "greeting", "Service not available, closing transmission channel", NETWORK),
    (452, "4.3.1", "mail", "Insufficient system storage", NETWORK),
    (451, "4.3.0", "end", "Internal error, queue file write error", NETWORK),
    (421, "", "greeting", "Service not available", NETWORK),
    (451, "", "mail", "Local error in processing", NETWORK),
    (454, "4.7.0", "starttls", "TLS is not available now", POLICY),
    (454, "", "starttls", "later", NETWORK),
    (554, "5.4.14", "end", "Hop count exceeded - possible mail loop", CONFIGURATION),
    # to be mended
    (554, "5.7.1", "rcpt", "<a@example.com>: Relay access denied", CONFIGURATION),
    (550, "", "rcpt", "relaying denied", CONFIGURATION),
    (534, "5.7.9", "rcpt", "Another mechanism is needed", CONFIGURATION),
    (454, "4.7.0", "auth", "Temporary authentication failure", CONFIGURATION),
]  # fmt: skip


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load()


def outcome(code: int, enhanced: str, stage: str, text: str) -> Outcome:
    permanent = code >= 500 and stage not in ("greeting", "hello")
    return Outcome(OutcomeKind.FAILED if permanent else OutcomeKind.DEFERRED, code, enhanced, text, stage=stage)


@pytest.mark.parametrize(("code", "enhanced", "stage", "text", "expected"), CORPUS)
def test_corpus(classifier: Classifier, code: int, enhanced: str, stage: str, text: str, expected: FailureKind) -> None:
    given_outcome = outcome(code, enhanced, stage, text)
    result = classifier.classify(given_outcome)
    assert result.failure is expected
    kind = OutcomeKind.DEFERRED if expected is REPUTATION else given_outcome.kind
    assert result == given_outcome._replace(kind=kind, failure=expected)


ECHOES = [
    (550, "", "rcpt", "<zen.spamhaus@any.example>: Recipient address rejected: User unknown", HARD),
    (550, "5.0.0", "rcpt", "zen.spamhaus@any.example... User unknown", HARD),
    (550, "", "rcpt", '<"your ip is blocked"@any.example>: User unknown', HARD),
    (550, "", "rcpt", "Local mailbox dnsbl@mail.ru is unavailable: account is disabled", HARD),
    (550, "", "rcpt", "<quota@any.example>: User unknown", HARD),
    (552, "", "rcpt", "<zen.spamhaus@any.example>: Mailbox full", SOFT),
    (550, "", "mail", "<bounce@zen.spamhaus.evil.example>: Sender address rejected", POLICY),
]


@pytest.mark.parametrize(("code", "enhanced", "stage", "text", "expected"), ECHOES)
def test_attack_of_an_address_that_reads_like_an_answer_when_echoed(
    classifier: Classifier, code: int, enhanced: str, stage: str, text: str, expected: FailureKind
) -> None:
    """Who chooses the address must not choose what the answer means; the text of the outcome stays whole."""
    given_outcome = outcome(code, enhanced, stage, text)
    assert classifier.classify(given_outcome) == given_outcome._replace(failure=expected)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no address here", "no address here"),
        ("<a@b.example>: unknown", "<>: unknown"),
        ("mail to a@b.example, c+d=e@[192.0.2.1] failed", "mail to <>, <>[192.0.2.1] failed"),
        ("<a@[IPv6:2001:db8::1]> unknown", "<> unknown"),
        ('"a b"@c.example unknown', "<> unknown"),
        ('"hello" <"a b"@c.example>', '"hello" <>'),
        ("id=a%40b.example;ip=192.0.2.1", "<>;ip=192.0.2.1"),
        ("<a%b@c.example> 100% full", "<> 100% full"),
        ("jürgen@bücher.example: unknown", "<>: unknown"),
        ("see <https://a.example/> or ask", "see <https://a.example/> or ask"),
        ("blocked (a@b.example:blocked)", "blocked (<>:blocked)"),
    ],
)
def test_addresses_are_taken_out_of_what_is_searched(text: str, left: str) -> None:
    assert without_addresses(text) == left


@pytest.mark.parametrize(
    "word", ["a", "@", "a@", "%40", "%4", "%", '"', '"a', '\\"', '"\\', "<", "<a", "<@", '<"', " @", '"@']
)
@pytest.mark.parametrize("end", ["", "@", '"@', "@a>"])
def test_hostile_addresses_take_no_time(word: str, end: str) -> None:
    text = "x" + word * (100_000 // len(word)) + end
    began = time.process_time()
    without_addresses(text)
    without_addresses(f'<"{text}')
    without_addresses("@ " + text)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("kind", [OutcomeKind.DELIVERED, OutcomeKind.NOT_TRIED])
def test_what_is_no_failure_stays_as_it_is(classifier: Classifier, kind: OutcomeKind) -> None:
    whole = Outcome(kind, 550, "5.1.1", "User unknown")
    assert classifier.classify(whole) is whole


@pytest.mark.parametrize("code", [530, 535, 538])
def test_refused_credentials_are_held_as_configuration(classifier: Classifier, code: int) -> None:
    held = Outcome(OutcomeKind.HOLD, code, "5.7.8", "Blocked using Spamhaus", stage="auth")
    assert classifier.classify(held) == held._replace(failure=CONFIGURATION)


def test_doubt_stays_doubt(classifier: Classifier) -> None:
    doubt = Outcome(OutcomeKind.IN_DOUBT, 0, "4.4.2", "Connection lost", stage="end")
    assert classifier.classify(doubt) == doubt._replace(failure=NETWORK)


@given(
    st.sampled_from(list(OutcomeKind)),
    st.sampled_from([0, *range(400, 600)]),
    st.from_regex(r"|[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True),
    st.sampled_from(["", "route", "connect", "greeting", "hello", "mail", "rcpt", "data", "message", "end", "quit"]),
    st.text(max_size=80),
)
def test_every_failure_has_a_kind(kind: OutcomeKind, code: int, enhanced: str, stage: str, text: str) -> None:
    before = Outcome(kind, code, enhanced, text, stage=stage)
    after = LOADED.classify(before)
    assert (after.failure is None) == (kind in (OutcomeKind.DELIVERED, OutcomeKind.NOT_TRIED))
    assert after.kind is before.kind or (before.kind, after.kind) == (OutcomeKind.FAILED, OutcomeKind.DEFERRED)


LOADED = load()
WORDS = (
    "ip ",
    "user ",
    "account ",
    "mailbox ",
    "the sending ",
    "1.2.3.4 ",
    "a",
    " ",
    "quota",
    "from sender ",
    "rejected ",
)


@pytest.mark.parametrize("word", WORDS)
def test_hostile_text_takes_no_time(classifier: Classifier, word: str) -> None:
    text = (word * TEXT_LIMIT)[:TEXT_LIMIT]
    began = time.process_time()
    for stage in ("greeting", "mail", "rcpt", "end"):
        classifier.classify(outcome(550, "", stage, text))
    assert time.process_time() - began < 2


def test_the_first_rule_that_fits_wins() -> None:
    rules = [
        {"failure": "content", "code": 554, "text": "spam"},
        {"failure": "policy", "code": "55x"},
        {"failure": "content"},
    ]
    classifier = read_classifier({"rule": rules})
    assert classifier.classify(outcome(554, "", "end", "SPAM!")).failure is CONTENT
    assert classifier.classify(outcome(554, "", "end", "no")).failure is POLICY
    assert classifier.classify(outcome(521, "", "end", "no")).failure is CONTENT


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"failure": "content", "text": "Spam"}, 'rule number 1: text: "Spam" has to be in lower case'),
        ({"failure": "nobody"}, 'rule number 1: failure: "nobody" is none of "recipient_hard"'),
        ({"code": 550}, "rule number 1: failure has to be set"),
        ({"failure": "content", "txt": "a"}, 'rule number 1: unknown key "txt" (did you mean "text"?)'),
    ],
)
def test_bad_rules_are_refused_by_name(rule: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_classifier({"rule": [rule]})
    assert str(error.value).startswith(complaint)
