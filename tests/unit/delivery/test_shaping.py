"""Limits and reactions as data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from smtpeter.delivery.shaping import Action, Reaction, Shaping, load, read_rate, read_shaping
from smtpeter.delivery.throttle import Rate, Shape
from smtpeter.errors import ConfigError
from smtpeter.model.delivery import Outcome, OutcomeKind
from smtpeter.model.reply import TEXT_LIMIT


@pytest.fixture(scope="module")
def shipped() -> Shaping:
    return load()


def over(tmp_path: Path, text: str) -> Shaping:
    file = tmp_path / "shaping.toml"
    file.write_text(text, "utf-8")
    return load(file)


def answer(code: int, text: str, enhanced: str = "", stage: str = "rcpt") -> Outcome:
    return Outcome(OutcomeKind.FAILED if code >= 500 else OutcomeKind.DEFERRED, code, enhanced, text, stage=stage)


# --- sites ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "site"),
    [
        (["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"], "google"),
        (["ASPMX.L.GOOGLE.COM.", "aspmx2.googlemail.com."], "google"),
        (["outlook-com.olc.protection.outlook.com"], "outlook.com"),
        (["mx1.smtp.goog", "mx2.smtp.goog"], "google"),
        (["example-org.mail.protection.outlook.com"], "office365"),
        (["example-org.mail.eo.outlook.com"], "office365"),
        (["example-org.k-v1.mx.microsoft"], "office365"),
        (["mx-aol.mail.gm0.yahoodns.net"], "yahoo"),
        (["mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net"], "yahoo"),
        (["mx01.mail.icloud.com", "mx02.mail.icloud.com"], "icloud"),
        (["mx00.emig.gmx.net"], "gmx"),
        (["mx00.kundenserver.de", "mx01.kundenserver.de"], "gmx"),
        (["mx00.t-online.de"], "t-online"),
        (["mx1.free.fr", "mx2.free.fr"], "free.fr"),
        (["mxint01.1and1.com", "mxint02.1and1.com"], "gmx"),
        (["smtp-in.orange.fr", "smtp-in2.orange.fr"], "orange"),
        (["smtpz4.laposte.net"], "laposte.net"),
        (["mx1.comcast.net"], "comcast"),
        (["mx1a1.comcast.net", "mx2h1.comcast.net"], "comcast"),
        (["cxr.mx.a.cloudfilter.net"], "cloudfilter"),
        (["al-ip4-mx-vip1.prodigy.net"], "att"),
        (["mxa-00012345.gslb.pphosted.com", "mxb-00012345.gslb.pphosted.com"], "proofpoint"),
        (["mx1-us1.ppe-hosted.com", "mx2-us1.ppe-hosted.com"], "proofpoint"),
        (["eu-smtp-inbound-1.mimecast.com"], "mimecast"),
        (["za-smtp-inbound-1.mimecast.co.za"], "mimecast"),
        (["d12345a.ess.barracudanetworks.com"], "barracuda"),
        (["cluster5.eu.messagelabs.com"], "messagelabs"),
        (["example.in.tmes.trendmicro.eu"], "trendmicro"),
        (["mx-01-eu-west-1.prod.hydra.sophos.com"], "sophos"),
        (["mx01.hornetsecurity.com"], "hornetsecurity"),
        (["route1.mx.cloudflare.net"], "cloudflare"),
        (["smtp.secureserver.net", "mailstore1.secureserver.net"], "godaddy"),
        (["mx1.emailsrvr.com"], "rackspace"),
        (["smtpin.rzone.de"], "strato"),
        (["mx1.mail.ovh.net"], "ovh"),
        (["esa1.hc1234-56.iphmx.com"], None),  # each customer of Cisco has his own
        (["mxs.mail.ru"], "mail.ru"),
        (["mx.yandex.ru"], "yandex"),
        (["mx1.qq.com"], "qq"),
        (["163mx01.mxmail.netease.com"], "netease"),
        (["mail.protonmail.ch", "mailsec.protonmail.ch"], "proton"),
        (["mx.zoho.eu"], "zoho"),
        (["in1-smtp.messagingengine.com"], "fastmail"),
        (["aspmx.l.google.com", "mx.example.net"], None),  # all of them, or it is nobody's
        (["google.com.example.net"], None),
        (["notgoogle.com"], None),
        (["google.com"], None),
        (["mx.example.net"], None),
        ([], None),
    ],
)
def test_a_provider_is_known_by_all_of_its_hosts(shipped: Shaping, hosts: list[str], site: str | None) -> None:
    assert shipped.site(hosts) == site


@pytest.mark.parametrize(
    "host",
    [
        "c-192-0-2-1.hsd1.ca.comcast.net",
        "192-0-2-1.ip.secureserver.net",
        "vps-1.vps.ovh.net",
        "host1.abo.wanadoo.fr",
        "host1.fbx.free.fr",
        "host1.rzone.de",
        "host1.prodigy.net",
    ],
)
def test_a_customer_s_own_host_does_not_speak_for_his_provider(shipped: Shaping, host: str) -> None:
    """Or whoever has one could stop our mail to all of the provider, by saying that our address is listed."""
    assert shipped.site([host]) is None


def test_the_default_shape(shipped: Shaping) -> None:
    assert shipped.shape(["mx.example.net"], "the site") == Shape("the site", 20, 1000, 100, None, None, 30.0)


def test_a_provider_s_shape_is_found_by_its_name_and_by_its_hosts(shipped: Shaping) -> None:
    shape = shipped.shape(["mta5.am0.yahoodns.net"], "mta5.am0.yahoodns.net")
    assert shape == shipped.shape([], "yahoo")
    assert (shape.name, shape.messages, shape.recipients, shape.idle) == ("yahoo", 20, 100, 30.0)


def test_a_relay_has_limits_too(tmp_path: Path) -> None:
    shaping = over(tmp_path, '[[site]]\nname = "our relay"\nmx = ["relay.example.net"]\nconnections = 50')
    assert shaping.shape(["relay.example.net"], "relay relay.example.net:587").connections == 50
    assert shaping.shape(["other.example.net"], "relay other.example.net:587").connections == 20


# --- an operator's file ---------------------------------------------------------------------------------------------


def test_one_of_ours_is_changed_key_by_key(tmp_path: Path) -> None:
    shape = over(tmp_path, '[[site]]\nname = "yahoo"\nconnections = 30').shape([], "yahoo")
    assert (shape.connections, shape.messages) == (30, 20)


def test_a_rate_can_be_taken_away(tmp_path: Path, shipped: Shaping) -> None:
    assert shipped.shape([], "qq").message_rate is not None
    assert over(tmp_path, '[[site]]\nname = "qq"\nmessage_rate = "none"').shape([], "qq").message_rate is None


def test_defaults_are_under_everything(tmp_path: Path) -> None:
    shaping = over(tmp_path, '[default]\nidle = "5s"\nmessage_rate = "100/min"')
    assert shaping.shape(["mx.example.net"], "x").idle == shaping.shape([], "yahoo").idle == 5.0
    assert shaping.shape([], "yahoo").message_rate == Rate(100, 60, 8)


def test_new_ones_come_before_ours(tmp_path: Path) -> None:
    text = """
        [[site]]
        name = "gmail"
        mx = "*.gmail-smtp-in.l.google.com"
        [[reaction]]
        name = "mine"
        site = "yahoo"
        text = "deferred"
        action = "pause_site"
        for = "3m"
    """
    shaping = over(tmp_path, text)
    assert shaping.site(["alt1.gmail-smtp-in.l.google.com"]) == "gmail"
    assert shaping.site(["aspmx.l.google.com"]) == "google"
    reaction = shaping.react(answer(421, "[TSS04] temporarily deferred"), "yahoo")
    assert reaction == Reaction(Action.PAUSE_SITE, 180.0, 2.0, "mine: 421 [TSS04] temporarily deferred")


def test_disabled_ones_are_gone(tmp_path: Path) -> None:
    text = """
        [[site]]
        name = "google"
        disabled = true
        [[reaction]]
        name = "Yahoo defers this address"
        disabled = true
    """
    shaping = over(tmp_path, text)
    assert shaping.site(["aspmx.l.google.com"]) is None
    assert shaping.react(answer(421, "[TSS04] temporarily deferred"), "yahoo") is None


def test_a_reaction_of_ours_is_changed_key_by_key(tmp_path: Path) -> None:
    shaping = over(tmp_path, '[[reaction]]\nname = "Yahoo defers this address"\nfor = "5m"')
    reaction = shaping.react(answer(421, "[TSS04] temporarily deferred"), "yahoo")
    assert reaction is not None
    assert reaction[:3] == (Action.SLOW, 300.0, 4.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[defaults]", 'unknown table "defaults" (known here: [default], [[site]], [[reaction]])'),
        ("default = 3", "default: 3 is not a table (try [default])"),
        ("[site]", "site: the table is not a list of tables (try [[site]])"),
        ("[default]\nconections = 3", 'default: unknown key "conections" (did you mean "connections"?)'),
        ("[default]\nconnections = 0", "default: connections: 0 is not a whole number from 1 on"),
        ("[default]\nidle = 0", "default: idle: 0 has to be longer than nothing"),
        ('[default]\nidle = "soon"', 'default: idle: "soon" is not a duration'),
        ('[default]\nmessage_rate = "fast"', 'default: message_rate: "fast" is not a rate'),
        ('[default]\nmessage_rate = "0/min"', 'default: message_rate: "0/min" is not a rate'),
        ("[[site]]\nconnections = 3", "site number 1: name: has to be set to a text"),
        ('[[site]]\nname = "a"\n[[site]]\nname = "a"', 'site "a": is there twice'),
        ('[[site]]\nname = "a"\nmx = ["a*.example.com"]', 'site "a": mx: ["a*.example.com"] is no list of hosts'),
        ('[[reaction]]\nname = "a"\naction = "slow"', 'reaction "a": for must be set'),
        ('[[reaction]]\nname = "a"\naction = "stop"', 'reaction "a": action: "stop" is none of "slow", "pause_source"'),
        ('[[reaction]]\nname = "a"\nfactor = 1', 'reaction "a": factor: 1 is not a number above 1'),
        ('[[reaction]]\nname = "a"\ncode = 999', 'reaction "a": code: 999 is not a reply code'),
        ('[[reaction]]\nname = "a"\nenhanced = "4.x"', 'reaction "a": enhanced: "4.x" is not an enhanced status code'),
        ('[[reaction]]\nname = "a"\nstage = "rctp"', 'reaction "a": stage: "rctp" is not a stage'),
        ('[[reaction]]\nname = "a"\ntext = "("', 'reaction "a": text: "(" is not a regular expression'),
        ('[[reaction]]\nname = "a"\ntext = "(a+)+$"', 'reaction "a": text: "(a+)+$" may take too long'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_name_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        over(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'shaping.toml'}: {complaint}")
    assert "\n" not in str(error.value)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        over(tmp_path, '[default]\nidle = 0\nmessages = "many"\n[[site]]\nname = "a"\nmx = 3')
    assert len(str(error.value).splitlines()) == 3


def test_a_file_that_is_not_there_or_no_toml_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml cannot be read: No such file"):
        load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match=r"shaping\.toml: ") as error:
        over(tmp_path, "[[site\n")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/min", Rate(100, 60, 8)),
        ("5/s", Rate(5, 1, 25)),
        ("1000/h", Rate(1000, 3600, 1)),
        ("5000/day", Rate(5000, 86400, 1)),
        ("none", None),
    ],
)
def test_rates(text: str, rate: Rate | None) -> None:
    assert read_rate(text) == rate


# --- reactions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("site", "outcome", "action"),
    [
        ("yahoo", answer(421, "[TSS04] Messages temporarily deferred", "4.7.0", "greeting"), Action.SLOW),
        ("yahoo", answer(421, "[TS03] All messages permanently deferred", "4.7.1", "greeting"), Action.PAUSE_SOURCE),
        ("google", answer(421, "an unusual rate of unsolicited mail", "4.7.0", "end"), Action.SLOW),
        ("google", answer(421, "Try again later, closing connection", "4.7.0", "hello"), Action.SLOW),
        ("google", answer(550, "very low reputation of the sending IP", "5.7.1", "mail"), Action.SLOW),
        ("google", answer(550, "Our rule: low reputation of the sending IP", "5.7.1", "end"), None),  # own words
        ("a.example", answer(550, "too many connections from our own", "5.7.1", "end"), None),
        ("google", answer(450, "The user is receiving mail too quickly", "4.2.1"), None),
        ("google", answer(550, "likely unsolicited mail", "5.7.1", "end"), None),
        ("outlook.com", answer(550, "is on our block list (S3140)", "5.7.1", "mail"), Action.PAUSE_SOURCE),
        ("outlook.com", answer(451, "rate limited due to IP reputation", "4.7.650", "mail"), Action.SLOW),
        ("outlook.com", answer(451, "exceeded the maximum number of connections", "4.7.652", "mail"), Action.SLOW),
        ("office365", answer(550, "Access denied", "5.7.606", "mail"), Action.PAUSE_SOURCE),
        ("office365", answer(451, "Server busy", "4.7.500"), Action.SLOW),
        ("t-online", answer(554, "IP=192.0.2.1 - None/bad reputation", "", "greeting"), Action.PAUSE_SOURCE),
        ("gmx", answer(554, "No SMTP service IP address is block listed.", "", "greeting"), Action.PAUSE_SOURCE),
        ("orange", answer(421, "Too many connections, slow down. OFR004_104", "", "greeting"), Action.SLOW),
        ("comcast", answer(554, "192.0.2.1 refused BL000001", "", "greeting"), Action.PAUSE_SOURCE),
        ("qq", answer(550, "Ip frequency limited", "", "mail"), Action.SLOW),
        ("netease", answer(421, "HL:ICC 192.0.2.1", "", "hello"), Action.SLOW),
        ("a.example", answer(554, "Client host [192.0.2.1] blocked, zen.spamhaus.org", "5.7.1"), Action.PAUSE_SOURCE),
        ("a.example", answer(550, "your IP 192.0.2.1 is listed"), Action.PAUSE_SOURCE),
        ("a.example", answer(554, "poor reputation", "", "greeting"), Action.PAUSE_SOURCE),
        ("a.example", answer(421, "Error: too many connections from 192.0.2.1", "4.7.0", "greeting"), Action.SLOW),
        ("a.example", answer(450, "rate limit exceeded", "4.7.1", "mail"), Action.SLOW),
        ("a.example", answer(421, "System not accepting network messages", "4.3.2", "greeting"), Action.PAUSE_SITE),
        ("a.example", answer(550, "User unknown", "5.1.1"), None),
        ("a.example", answer(451, "Greylisted", "4.7.1"), None),
        ("a.example", answer(421, "[TSS04] Messages temporarily deferred"), None),  # only Yahoo says so and means it
        ("a.example", answer(554, "a link in it is listed at Spamhaus", "5.7.1", "end"), None),  # one message's fault
        ("a.example", answer(552, "Mailbox full", "5.2.2"), None),
    ],
)  # fmt: skip
def test_shipped_reactions(shipped: Shaping, site: str, outcome: Outcome, action: Action | None) -> None:
    reaction = shipped.react(outcome, site)
    assert (None if reaction is None else reaction.action) is action
    if reaction is not None:
        assert 0 < reaction.seconds <= 86_400
        assert reaction.reason.endswith(outcome.text)


def test_what_was_delivered_or_never_answered_is_no_reason(shipped: Shaping) -> None:
    refused = answer(421, "[TSS04] temporarily deferred")
    assert shipped.react(refused._replace(kind=OutcomeKind.DELIVERED), "yahoo") is None
    assert shipped.react(refused._replace(code=0), "yahoo") is None


def test_a_reason_is_no_longer_than_a_line(shipped: Shaping) -> None:
    reaction = shipped.react(answer(421, "temporarily deferred " * 40), "yahoo")
    assert reaction is not None
    assert len(reaction.reason) == 300


ECHOES = [
    ("a.example", answer(550, "<zen.spamhaus@any.example>: Recipient address rejected: User unknown", "5.1.1")),
    ("a.example", answer(550, "<zen.spamhaus@any.example>: Recipient address rejected: Access denied", "5.7.1")),
    ("a.example", answer(450, "<bounce@zen.spamhaus.evil.example>: Sender: Domain not found", "4.1.8", "mail")),
    ("a.example", answer(450, "<bounce@zen.spamhaus.evil.example>: Sender: Domain not found", "", "mail")),
    ("a.example", answer(550, "<blocked-ip@any.example>: User unknown")),
    ("a.example", answer(550, "<throttled@any.example>: User unknown")),
    ("a.example", answer(550, "zen.spamhaus@any.example... User unknown")),
    ("a.example", answer(550, "User unknown: ZEN.SPAMHAUS@ANY.EXAMPLE")),
    ("a.example", answer(550, '<"your ip is listed at rbl"@any.example>: User unknown')),
    ("a.example", answer(550, '"your ip is \\"listed\\" at rbl"@any.example: User unknown')),
    ("a.example", answer(550, '<"a@> your ip is listed"@any.example>: User unknown')),
    ("a.example", answer(550, "<your ip is listed@any.example>: User unknown")),
    ("a.example", answer(550, "see http://spf.example/why?s=mfrom;id=rbl%40evil.example;r=mx", "5.7.23", "mail")),
    ("a.example", answer(550, "<rbl%zen.spamhaus.example@any.example>: User unknown")),
    ("a.example", answer(550, "<rbl%40zen.spamhaus.example@any.example>: User unknown")),
    ("a.example", answer(550, "rbl: User unknown", "5.1.1")),
    ("a.example", answer(450, "zen.spamhaus.evil.example: Domain not found", "4.1.8", "mail")),
    ("a.example", answer(550, f"<{'a' * 64}@{'b.' * 110}zen.spamhaus.evil.example>: No such sender", "", "mail")),
    ("proofpoint", answer(550, "rbl: User unknown", "5.1.1")),
    ("proofpoint", answer(550, "<blacklist@any.example>: User unknown")),
    ("mail.ru", answer(550, "invalid mailbox. Local mailbox dnsbl@mail.ru is unavailable: user not found")),
    ("comcast", answer(550, "<bl000010@comcast.net> not our customer", "5.1.1")),
    ("outlook.com", answer(550, "mailbox s3140@outlook.com unavailable", "5.5.0")),
    ("freenet", answer(550, "<rbl@freenet.de>: Recipient address rejected: User unknown", "5.1.1")),
]  # fmt: skip


@pytest.mark.parametrize(("site", "outcome"), ECHOES)
def test_attack_of_an_address_that_reads_like_a_block_list_when_echoed(
    shipped: Shaping, site: str, outcome: Outcome
) -> None:
    """Receivers repeat our envelope, and who sends through us chooses it: he must not stop a site for everybody."""
    assert shipped.react(outcome, site) is None


def test_a_block_list_is_heard_beside_an_address_and_the_reason_is_told_whole(shipped: Shaping) -> None:
    text = "<a@any.example>: Recipient rejected: Client host [192.0.2.1] blocked using zen.spamhaus.org"
    reaction = shipped.react(answer(554, text, "5.7.1"), "a.example")
    assert reaction is not None
    assert reaction.action is Action.PAUSE_SOURCE
    assert reaction.reason.endswith(text)


@pytest.mark.parametrize(
    "word", ["your ip ", "ip ", "listed ", "due to ip a ", "1.2.3.4 ", " ", "blocked block", "too many "]
)
def test_hostile_text_takes_no_time(shipped: Shaping, word: str) -> None:
    text = (word * TEXT_LIMIT)[:TEXT_LIMIT]
    began = time.process_time()
    for site in ("yahoo", "google", "outlook.com", "orange", "a.example"):
        shipped.react(answer(550, text, "", "greeting"), site)
        shipped.react(answer(421, text, "4.7.0", "mail"), site)
    assert time.process_time() - began < 2


def test_a_reaction_may_say_that_nothing_is_to_be_done(tmp_path: Path) -> None:
    text = """
        [[reaction]]
        name = "we know"
        text = "spamhaus"
        action = "none"
    """
    listed = answer(554, "Client host [192.0.2.1] blocked using zen.spamhaus.org")
    assert over(tmp_path, text).react(listed, "a.example") is None
    assert over(tmp_path, "").react(listed, "a.example") is not None


def test_conditions_of_a_reaction_all_have_to_fit() -> None:
    rule: dict[str, Any] = {"name": "a", "action": "slow", "for": "1m"}
    whole = rule | {"code": "42x", "enhanced": "4.7.*", "stage": ["mail", "rcpt"], "text": "Slow", "site": ["s"]}
    shaping = read_shaping({"reaction": [whole]}, {})
    assert shaping.react(answer(421, "please SLOW down", "4.7.9", "mail"), "s") is not None
    for other in (
        answer(431, "slow", "4.7.9", "mail"),
        answer(421, "slow", "4.3.9", "mail"),
        answer(421, "slow", "4.7.9", "end"),
        answer(421, "fast", "4.7.9", "mail"),
    ):
        assert shaping.react(other, "s") is None
    assert shaping.react(answer(421, "slow", "4.7.9", "mail"), "t") is None
