"""The grammar of commands: paths, parameters and xtext (RFC 5321 section 4.1.2, RFC 3461, RFC 6531).

One strict parser reads every address that decides where mail goes, so that policy, queue and wire cannot disagree on
what an address means.  A failure is a :class:`smtpeter.errors.Refusal` with the reply that the client gets.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata

import idna

from smtpeter.errors import Refusal

LOCAL_PART_LIMIT = 64
DOMAIN_LIMIT = 255
PATH_LIMIT = 256  # RFC 5321 section 4.5.3.1.3, with the angle brackets
ENVID_LIMIT = 100
ORCPT_LIMIT = 500

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9_\u0080-\U0010ffff](?:[A-Za-z0-9_\u0080-\U0010ffff-]*[A-Za-z0-9_\u0080-\U0010ffff])?"
_QUOTED = r'"(?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*"'
_LITERAL = r"\[[A-Za-z0-9:.-]+\]"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_ROUTE = rf"(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?"
_PATH = re.compile(
    rf"<{_ROUTE}(?:(?P<local>{_ATOM}(?:\.{_ATOM})*|{_QUOTED})@(?P<domain>{_DOMAIN}|{_LITERAL})"
    r"|(?P<bare>[Pp][Oo][Ss][Tt][Mm][Aa][Ss][Tt][Ee][Rr])|)>(?P<rest>.*)"
)
_PLAIN_PATH = re.compile(
    r"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*)"
    r"@([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)>"
)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\U0010ffff]+))?")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_UNFIT = frozenset(("Cc", "Zl", "Zp", "Zs"))  # Unicode's categories of controls, line ends and spaces
_ORCPT_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*/?^_`{|}~.-]+")


def upper(word: str) -> str:
    """A word of the protocol in upper case.  Only ASCII is changed: ``str.upper`` makes ASCII of "ı" and "ﬆ" too."""
    return word.upper() if word.isascii() else word


class PathRole:
    """The replies that belong to one of the two commands that carry a path."""

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        self.what = what

    def bad(self, text: str) -> Refusal:
        return Refusal(501, self.code, f"{self.what}: {text}")


SENDER = PathRole("5.1.7", "Bad sender address")
RECIPIENT = PathRole("5.1.3", "Bad recipient address")
ANYBODY = PathRole("5.1.3", "Bad address")


def parse_path(text: str, where: PathRole) -> tuple[str, str, str]:
    """Read ``<local@domain>`` at the start of ``text``.

    Answers the mailbox without brackets and source route (empty for ``<>``), its domain as a queue key (A-labels, lower
    case; empty for ``<>`` and for ``<postmaster>``), and what follows the path.
    """
    plain = _PLAIN_PATH.match(text)
    if plain is not None:
        local, domain = plain.groups()
        if len(local) > LOCAL_PART_LIMIT or len(local) + len(domain) + 3 > PATH_LIMIT:
            raise where.bad("it is longer than RFC 5321 allows")
        return f"{local}@{domain}", _ascii_domain(domain, where), text[plain.end() :]
    match = _PATH.match(text)
    if match is None:
        raise where.bad("write it as <local-part@domain>")
    if match["bare"]:
        if where is SENDER:
            raise where.bad("only a recipient may be a postmaster without domain")
        return match["bare"], "", match["rest"]
    if match["local"] is None:
        if match[0][1] == "@":
            raise where.bad("a source route without a mailbox")
        return "", "", match["rest"]
    local, domain = match["local"], match["domain"]
    if (
        len(local.encode()) > LOCAL_PART_LIMIT
        or len(domain.encode()) > DOMAIN_LIMIT
        or len(f"<{local}@{domain}>".encode()) > PATH_LIMIT
    ):
        raise where.bad("it is longer than RFC 5321 allows")
    if any(character > "~" and unicodedata.category(character) in _UNFIT for character in local + domain):
        raise where.bad("it holds a control character or an exotic space")
    return f"{local}@{domain}", _queue_key(domain, where), match["rest"]


def parse_mailbox(text: str, where: PathRole = ANYBODY) -> str:
    """Check a bare ``local@domain``, without brackets and route; answers its domain as a queue key."""
    mailbox, key, rest = parse_path(f"<{text}>", where)
    if not key or rest or mailbox != text:
        raise where.bad("write it as local-part@domain")
    return key


def _ascii_domain(domain: str, where: PathRole) -> str:
    key = domain.lower()
    if len(key) > 63 and max(map(len, key.split("."))) > 63:
        raise where.bad("a part of the domain is longer than 63 characters")
    return key


def _queue_key(domain: str, where: PathRole) -> str:
    if domain.startswith("["):
        literal = domain[1:-1]
        try:
            if literal[:5].lower() == "ipv6:":
                return f"[ipv6:{ipaddress.IPv6Address(literal[5:])}]"
            return f"[{ipaddress.IPv4Address(literal)}]"
        except ValueError:
            raise where.bad("the address literal is not an IP address") from None
    if domain.isascii():
        return _ascii_domain(domain, where)
    try:
        key = idna.encode(domain, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        key = ""
    # Characters that only look like a dot would make a name of other labels than those that stand on the wire.
    if key.count(".") != domain.count(".") or not key:
        raise where.bad("the domain is not a valid internationalised name")
    return key


def parse_parameters(text: str) -> dict[str, str | None]:
    """Read ``KEYWORD[=value]`` words; keywords come back in upper case (RFC 5321 section 4.1.1.11)."""
    parameters: dict[str, str | None] = {}
    if not text:
        return parameters
    if text[0] != " ":
        raise Refusal(501, "5.5.4", "There must be a space between the address and its parameters")
    if not text.isprintable():
        raise Refusal(501, "5.5.4", "Parameters must be parted by spaces and hold no controls")
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise Refusal(501, "5.5.4", "A parameter must have the form KEYWORD or KEYWORD=value")
        keyword = match[1].upper()
        if keyword in parameters:
            raise Refusal(501, "5.5.4", f"The parameter {keyword:.40} was given twice")
        parameters[keyword] = match[2]
    return parameters


def decode_xtext(value: str) -> str:
    """Decode xtext (RFC 3461 section 4).  Fails with ValueError where it is none, or where it hides a control."""
    if _XTEXT.fullmatch(value) is None:
        raise ValueError("not xtext")
    if "+" not in value:
        return value
    octets = bytearray()
    position = 0
    while position < len(value):
        if value[position] == "+":
            octets.append(int(value[position + 1 : position + 3], 16))
            position += 3
        else:
            octets.append(ord(value[position]))
            position += 1
    text = octets.decode("utf-8", "replace")
    if any(not character.isprintable() for character in text):
        raise ValueError("a control character")
    return text


def check_envid(value: str | None) -> str:
    """ENVID: at most 100 characters of xtext (RFC 3461 section 4.4)."""
    return _checked_xtext(value, ENVID_LIMIT, "ENVID must be at most 100 characters of xtext")


def check_mail_auth(value: str | None) -> None:
    """AUTH= of MAIL, a mailbox in xtext or ``<>`` (RFC 4954 section 5): nobody is trusted with it, nor is it kept."""
    if value != "<>":
        _checked_xtext(value, ORCPT_LIMIT, "AUTH must be an address in xtext, or <>")


def _checked_xtext(value: str | None, limit: int, complaint: str) -> str:
    if value is None or len(value) > limit:
        raise Refusal(501, "5.5.4", complaint)
    try:
        decode_xtext(value)
    except ValueError:
        raise Refusal(501, "5.5.4", complaint) from None
    return value


def check_orcpt(value: str | None) -> str:
    """ORCPT: ``type;xtext``, at most 500 characters (RFC 3461 section 4.2)."""
    complaint = "ORCPT must be an address type, a semicolon and an address in xtext, at most 500 characters"
    kind, semicolon, address = (value or "").partition(";")
    if len(value or "") > ORCPT_LIMIT or not semicolon or not address or not _ORCPT_TYPE.fullmatch(kind):
        raise Refusal(501, "5.5.4", complaint)
    return f"{kind};{_checked_xtext(address, ORCPT_LIMIT, complaint)}"


def check_notify(value: str | None) -> str:
    """NOTIFY: NEVER alone, or a list of SUCCESS, FAILURE and DELAY, answered in that order (RFC 3461 section 4.1)."""
    words = upper(value or "").split(",")
    if words == ["NEVER"]:
        return "NEVER"
    order = ("SUCCESS", "FAILURE", "DELAY")
    if not set(words) <= set(order) or len(words) != len(set(words)):
        raise Refusal(501, "5.5.4", "NOTIFY must be NEVER, or a list of SUCCESS, FAILURE and DELAY")
    return ",".join(word for word in order if word in words)
