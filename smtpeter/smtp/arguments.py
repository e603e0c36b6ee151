"""The arguments of MAIL and RCPT: an address and the parameters that were offered with EHLO, read without any state.

A failure is a :class:`smtpeter.errors.Refusal` with the reply that the client gets.
"""

from __future__ import annotations

from smtpeter.errors import Refusal
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.smtp import grammar


def read_mail(argument: str, size_limit: int) -> tuple[Envelope, int]:
    """What MAIL says: an envelope without recipients, and the size that was announced, 0 if none was."""
    path = _after_colon(argument, "FROM")
    reverse_path, _, rest = grammar.parse_path(path, grammar.SENDER)
    size = 0
    body, smtputf8, ret, envid = "7BIT", False, None, None
    for keyword, value in grammar.parse_parameters(rest).items() if rest else ():
        match keyword:
            case "SIZE":
                size = _announced_size(value, size_limit)
            case "BODY":
                body = grammar.upper(value or "")
                if body not in ("7BIT", "8BITMIME"):
                    raise Refusal(501, "5.5.4", "BODY must be 7BIT or 8BITMIME")
            case "SMTPUTF8":
                if value is not None:
                    raise Refusal(501, "5.5.4", "SMTPUTF8 takes no value")
                smtputf8 = True
            case "RET":
                ret = grammar.upper(value or "")
                if ret not in ("FULL", "HDRS"):
                    raise Refusal(501, "5.5.4", "RET must be FULL or HDRS")
            case "ENVID":
                envid = grammar.check_envid(value)
            case "AUTH":
                grammar.check_mail_auth(value)
            case _:
                raise Refusal(555, "5.5.4", f"The parameter {keyword:.40} of MAIL is not known here")
    if not smtputf8 and not reverse_path.isascii():
        raise Refusal(553, "5.6.7", "An address that is not ASCII needs the SMTPUTF8 parameter")
    return Envelope(reverse_path, (), body, smtputf8, ret, envid), size


def _announced_size(value: str | None, limit: int) -> int:
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 20:
        raise Refusal(501, "5.5.4", "SIZE must be a number of octets")
    if int(value) > limit:
        raise Refusal(552, "5.3.4", f"Messages over {limit} octets are not taken here")
    return int(value)


def read_rcpt(argument: str, hostname: str, *, smtputf8: bool) -> Recipient:
    """What RCPT says.  ``hostname``: where a postmaster without domain is.  ``smtputf8``: MAIL had this parameter."""
    path = _after_colon(argument, "TO")
    address, domain, rest = grammar.parse_path(path, grammar.RECIPIENT)
    if not address:
        raise grammar.RECIPIENT.bad("the null path cannot receive mail")
    if not domain:
        address, domain = f"{address}@{hostname}", hostname.lower()
    notify, orcpt = None, None
    for keyword, value in grammar.parse_parameters(rest).items() if rest else ():
        match keyword:
            case "NOTIFY":
                notify = grammar.check_notify(value)
            case "ORCPT":
                orcpt = grammar.check_orcpt(value)
            case _:
                raise Refusal(555, "5.5.4", f"The parameter {keyword:.40} of RCPT is not known here")
    if not smtputf8 and not address.isascii():
        raise Refusal(553, "5.6.7", "An address that is not ASCII needs SMTPUTF8 with MAIL")
    return Recipient(address, domain, notify, orcpt)


def _after_colon(argument: str, keyword: str) -> str:
    """What follows ``FROM:`` or ``TO:``; a space before the path, which many scripts send, is let pass."""
    start = len(keyword) + 1
    if argument[:start].upper() != keyword + ":":
        raise Refusal(501, "5.5.4", f"The command must go on with {keyword}:<address>")
    return argument[start:].lstrip(" ")
