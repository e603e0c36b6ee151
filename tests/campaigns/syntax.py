"""Addresses, SASL responses, encoded words and header blocks, hostile ones too: ``python -m tests.campaigns.syntax``.

* A mailbox that the parser takes, written again, is taken again as the same; its domain is the one that stands in
  RCPT on the wire; and all paths that are built by the grammar of RFC 5321 are taken.
* Whatever credentials are encoded come out of PLAIN and LOGIN as they were; any other response answers or refuses.
* The text of a field has no controls whatever its encoded words spell, and is stable; a header block keeps all octets
  but those of the fields that must not leave.

A case is one of each.  Before them the time for hostile headers and addresses is looked at: four times the octets may
take eight times as long, not sixteen.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from random import Random
from time import thread_time

from smtpeter.errors import Refusal
from smtpeter.mime.header import find_header_end, read_header
from smtpeter.mime.words import decode_field
from smtpeter.smtp.grammar import RECIPIENT, parse_parameters, parse_path
from smtpeter.smtp.sasl import Credentials, LoginExchange, PlainExchange, decode_response
from smtpeter.smtp.transaction import Transaction, compose_commands
from tests.campaigns.command import Figures, Found, main
from tests.fakes.jobs import make_recipient

ATEXT = "abcXYZ019!#$%&'*+/=?^_`{|}~-"
QTEXT = " !#$%&'()*+,-./09:;<=>?@AZ[]^_`az{|}~"
UTF8 = "äß用户👍é\u0301\u200d"
WILD = ATEXT + QTEXT + UTF8 + '"\\\r\n\0\t\x7f\x85\xa0\u2028\u3000\u3002'
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def make_local_part(random: Random) -> str:
    """Dot-string or Quoted-string of RFC 5321 section 4.1.2, with the characters of RFC 6531."""
    letters = ATEXT + (UTF8 if random.random() < 0.2 else "")
    if random.random() < 0.6:
        return ".".join(
            "".join(random.choices(letters, k=random.randrange(1, 8))) for _ in range(random.randrange(1, 4))
        )
    parts = [random.choice(QTEXT) if random.random() < 0.8 else "\\" + chr(random.randrange(32, 127)) for _ in range(9)]
    return f'"{"".join(parts[: random.randrange(10)])}"'


def make_domain(random: Random) -> str:
    """Domain or address-literal of RFC 5321 section 4.1.2."""
    if random.random() < 0.1:
        address = ".".join(str(random.randrange(256)) for _ in range(4))
        return f"[{address}]" if random.random() < 0.5 else f"[IPv6:2001:db8::{random.randrange(65536):x}]"
    labels = []
    for _ in range(random.randrange(1, 5)):
        inner = "".join(random.choices("abcXYZ019-", k=random.randrange(8)))
        labels.append(f"a{inner}z".replace("--", "-x"))
    if random.random() < 0.1:
        labels[0] = "bücher"
    return ".".join(labels)


def check_mailbox(random: Random) -> str:
    """What is wrong with one mailbox; empty where nothing is."""
    mailbox = f"{make_local_part(random)}@{make_domain(random)}"
    route = "@r.test,@s.test:" if random.random() < 0.1 else ""
    try:
        address, domain, rest = parse_path(f"<{route}{mailbox}> NOTIFY=NEVER", RECIPIENT)
    except Refusal as refusal:
        return f"{mailbox!r} was refused: {refusal}"
    if (address, rest) != (mailbox, " NOTIFY=NEVER"):
        return f"{mailbox!r} became {address!r} and {rest!r}"
    return _check_taken(address, domain)


def _check_taken(address: str, domain: str) -> str:
    again = parse_path(f"<{address}>", RECIPIENT)
    if again != (address, domain, ""):
        return f"{address!r} was taken as {again} the second time"
    recipient = make_recipient(1, address)._replace(domain=domain)
    for offers in ((), ("SMTPUTF8",)):
        commands = compose_commands(Transaction("", [recipient], b"x\r\n", smtputf8=not address.isascii()), offers)
        for rcpt in commands.rcpts:
            if not rcpt.endswith(b">\r\n") or any(octet < 32 or octet == 127 for octet in rcpt[:-2]):
                return f"{rcpt!r} goes out for {address!r}"
            if parse_path(rcpt[8:-2].decode(), RECIPIENT)[1] != domain:
                return f"{rcpt!r} goes out for {address!r} of the queue {domain!r}"
    return ""


def check_wild_path(random: Random) -> str:
    """Any text is taken as something that is taken as the same again, or refused."""
    text = "".join(random.choices(WILD, k=random.randrange(12)))
    if random.random() < 0.7:
        text = f"<{text}@{''.join(random.choices(WILD, k=3)) if random.random() < 0.5 else make_domain(random)}>"
    try:
        address, domain, rest = parse_path(text, RECIPIENT)
        parse_parameters(rest)
    except Refusal as refusal:
        return "" if refusal.reply.code == 501 else f"{refusal} for {text!r}"
    if CONTROLS.search(address):
        return f"{address!r} has a control"
    return _check_taken(address, domain) if domain else ""


def check_sasl(random: Random) -> str:
    """What is wrong with one exchange; empty where nothing is."""
    name = "".join(random.choices(ATEXT + UTF8 + ' "\\', k=random.randrange(1, 20)))
    word = "".join(random.choices(ATEXT + UTF8 + " \x01", k=random.randrange(20)))
    expected = Credentials(name, word)
    plain = base64.b64encode(f"{random.choice(('', name))}\0{name}\0{word}".encode()).decode()
    if PlainExchange().begin(decode_response(plain)) != expected:
        return f"PLAIN of {expected!r}"
    login = LoginExchange()
    login.begin(None)
    login.answer(name.encode())
    if login.answer(word.encode()) != expected:
        return f"LOGIN of {expected!r}"
    wild = "".join(random.choices("=*+/ABCabc019\0 ä-_", k=random.randrange(12)))
    for exchange in (PlainExchange(), login):
        try:
            exchange.answer(decode_response(wild))
        except Refusal as refusal:
            if refusal.reply.code not in (501, 535):
                return f"{refusal} for {wild!r}"
    return ""


_WORDS = [
    b"=?utf-8?q?", b"=?utf-8?b?", b"=?utf-7?q?", b"=?hz-gb-2312?q?", b"=?iso-2022-kr?b?", b"=?utf-16?b?", b"=?",
    b"?=", b"?", b"_", b"=0A", b"=0D", b"=00", b"=C2=85", b"=E2=80=A8", b"YQ==", b"YQpi", b"~{", b"\x1b$B", b"+AAo-",
    b"+2AA-", b"\r\n ", b"\r\n\t", b" ", b"\xff", b"\xc3\xa4", b"a", b"\x1b[2J",
]  # fmt: skip
_LINES = [
    b"Subject: x", b"subject : y", b"Bcc: a@b.test", b" folded", b"\tfolded", b"Resent-Bcc: x", b"BCC :",
    b"X-SMTPeter-Tags: a", b"Received: x", b"Date: y", b"Message-ID: <z>", b"X-Other: Bcc: x", b"Bccc: x", b":",
    b"no colon", b"\xff: x", b" ", b"",
]  # fmt: skip


def check_field(random: Random) -> str:
    """What is wrong with one field's text; empty where nothing is."""
    value = b"".join(random.choices(_WORDS, k=random.randrange(20)))
    text = decode_field(value)
    if CONTROLS.search(text) or len(text) > 998 or text != text.strip():
        return f"{value!r} shows as {text!r}"
    text.encode("utf-8")
    return ""


def check_header(random: Random) -> str:
    """What is wrong with one header block; empty where nothing is."""
    lines = random.choices(_LINES, k=random.randrange(12))
    content = b"".join(line + b"\r\n" for line in lines) + b"\r\nbody: Bcc: x\r\n"
    end = find_header_end(content)
    if end is None or (end and not content[end - 2 :].startswith(b"\r\n\r\n")):
        return f"{content!r}: the end of the header is {end}"
    kept = []
    leaving = False
    for line in content[:end].split(b"\r\n")[:-1]:
        if line[:1] not in (b" ", b"\t"):
            leaving = re.match(rb"(?i)(?:resent-)?bcc[ \t]*:|x-smtpeter-[^:\s]*[ \t]*:", line) is not None
        if not leaving:
            kept.append(line + b"\r\n")
    block = read_header(content[:end]).block
    return "" if block == b"".join(kept) else f"{content[:end]!r} goes on as {block!r} instead of {kept}"


CHECKS: list[Callable[[Random], str]] = [
    check_mailbox, check_mailbox, check_wild_path, check_wild_path, check_sasl, check_field, check_header,
]  # fmt: skip

# What may be slow, by the number of octets.
HOSTILE: dict[str, Callable[[int], object]] = {
    "encoded words": lambda n: decode_field(b"=?utf-8?q?a?= " * (n // 14), n),
    "beginnings of words": lambda n: decode_field(b"=?a" * (n // 3), n),
    "words without end": lambda n: decode_field(b"=?utf-8?q?" + b"a" * n, n),
    "spaces between words": lambda n: decode_field(b"?=" + b" " * n + b"x", n),
    "words in long charsets": lambda n: decode_field(b"=?" + b"a*" * (n // 2), n),
    "folds": lambda n: decode_field(b"\r\n " * (n // 3), n),
    "UTF-7": lambda n: decode_field(b"=?utf-7?q?" + b"+AGE" * (n // 4) + b"?=", n),
    "empty fields": lambda n: read_header(b"bcc:\r\n" * (n // 6)),
    "folded Bcc": lambda n: read_header(b"bcc:\r\n" + b" \r\n" * (n // 3)),
    "folded Subjects": lambda n: read_header((b"subject:" + b"\r\n " * 50 + b"\r\n") * (n // 160)),
    "long names": lambda n: read_header(b"x-smtpeter-" + b"a" * n + b"\r\n"),
    "spaces before a colon": lambda n: read_header(b"received" + b" " * n + b"\r\n"),
    "a long first line": lambda n: find_header_end(b"a" * n + b"\r\n" + b"\r\n"),
    "quoted pairs": lambda n: _refuse('<"' + "\\a" * (n // 2)),
    "labels": lambda n: _refuse("<a@" + "a." * (n // 2)),
    "hyphens": lambda n: _refuse("<a@a" + "-" * n + "!"),
    "routes": lambda n: _refuse("<" + "@a," * (n // 3)),
    "atoms": lambda n: _refuse("<" + "a." * (n // 2) + "@"),
    "parameters": lambda n: _refuse("<a@b.test> " + "A=b " * (n // 4) + "="),
}


def _refuse(text: str) -> None:
    try:
        parse_parameters(parse_path(text, RECIPIENT)[2])
    except Refusal:
        pass


def check_times(size: int = 16_384) -> None:
    """:raises Found: where the time grows faster than the octets, each time that it is measured."""
    for name, work in HOSTILE.items():
        for _ in range(5):
            small, large = (min(_time(work, octets) for _ in range(5)) for octets in (size, 4 * size))
            if large <= 8 * small + 0.002:
                break
        else:
            raise Found(f"{name}: {small * 1000:.2f} ms for {size:,} octets, {large * 1000:.2f} ms for 4 times as many")


def _time(work: Callable[[int], object], octets: int) -> float:
    begin = thread_time()
    work(octets)
    return thread_time() - begin


def campaign(seed: int, first: int, count: int) -> Figures:
    """Cases number ``first`` and on."""
    check_times()
    for number in range(first, first + count):
        random = Random(seed * 1_000_003 + number)
        for check in CHECKS:
            wrong = check(random)
            if wrong:
                raise Found(f"case {number} of seed {seed}: {wrong}")
    return {"checks": count * len(CHECKS)}


if __name__ == "__main__":
    main("syntax", campaign, 100_000, "cases")
