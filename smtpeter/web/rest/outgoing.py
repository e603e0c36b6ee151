"""What is made of a request to ``POST /v1/send``: an envelope, a message and options.

Pure, so that it can be done in the server for small requests and elsewhere for large ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from smtpeter.interfaces import IFeatureCatalog
from smtpeter.mime import compose as composing
from smtpeter.mime.addresses import Address, read_addresses
from smtpeter.mime.structure import HEADER_LIMIT
from smtpeter.model.envelope import Envelope
from smtpeter.model.feature import CORE_OPTIONS, option_key
from smtpeter.web.rest import addressing
from smtpeter.web.rest.bodies import fold, shown, validated
from smtpeter.web.rest.fields import Attachment, Dsn, SendRequest, Unsubscribe
from smtpeter.web.rest.values import ApiError

_REQUEST_OPTIONS = ("tags", "maxdelivertime", "send_at", "images")
_TAG_ENDS = re.compile(r"[,;]++")
_COMPOSED = (
    "from_", "to", "cc", "bcc", "replyto", "subject", "text", "html", "unsubscribe", "extra", "attachments",
)  # fmt: skip
_NO_DSN = Dsn.model_validate({})


class Rules(NamedTuple):
    """What the server has to say of requests.

    ``options`` are the canonical names of options by all their names; ``recipients`` is how many a message may have.
    """

    options: Mapping[str, str]
    recipients: int


class Outgoing(NamedTuple):
    """A message to hand over.

    ``pieces`` are its octets, with the line ends of mail, and can be gone through more than once.  ``options`` are as
    text, by the names that its sender chose.
    """

    envelope: Envelope
    pieces: Iterable[bytes]
    options: Mapping[str, str]


def make_rules(catalog: IFeatureCatalog, recipients: int) -> Rules:
    """The rules for requests; features of third parties bring options of their own."""
    names = {each: option.name for option in catalog.options for each in (option.name, *option.aliases)}
    core = {each: name for each, name in CORE_OPTIONS.items() if name in _REQUEST_OPTIONS}
    return Rules(names | core, recipients)


def make_outgoing(tree: Mapping[str, Any], rules: Rules, entropy: str) -> Outgoing:
    """What a request asks for, by the names that its sender chose.  ``entropy`` is random, 16 to 40 letters and digits,
    and new each time.

    :raises ApiError: 400, naming the field and what was expected.
    """
    known, rest = fold(tree, SendRequest, empty_is_absent=True)
    options = _read_options(rest, rules)
    if "recipients" not in known:
        raise ApiError(400, "recipients: write at least one address: they alone decide where mail goes")
    wanted = validated(SendRequest, known)
    if wanted.template or wanted.data or wanted.patch:
        raise ApiError(400, "template: templates are not available here")
    dsn = wanted.dsn or _NO_DSN
    notify, orcpt = addressing.read_notify(dsn.notify), addressing.read_orcpt(dsn.orcpt)
    recipients = addressing.read_recipients(wanted.recipients, rules.recipients, notify, orcpt)
    reverse_path = addressing.read_reverse_path(wanted.envelope)
    ret, envid = addressing.read_ret(dsn.ret), addressing.read_envid(dsn.envid)
    if wanted.mime:
        pieces, smtputf8 = _whole_message(wanted), False
    else:
        pieces, smtputf8 = _composed(wanted, entropy)
    smtputf8 = smtputf8 or not reverse_path.isascii() or any(not each.address.isascii() for each in recipients)
    envelope = Envelope(reverse_path, recipients, smtputf8=smtputf8, ret=ret, envid=envid)
    return Outgoing(envelope, pieces, options)


def _whole_message(wanted: SendRequest) -> Iterable[bytes]:
    for name in _COMPOSED:
        if getattr(wanted, name):
            raise ApiError(
                400, f"{name.rstrip('_')}: the whole message is in mime; write this into it, or leave mime out"
            )
    try:
        return (composing.canonical(wanted.mime),)
    except ValueError as error:
        raise ApiError(400, str(error)) from None


def _composed(wanted: SendRequest, entropy: str) -> composing.Composed:
    sender = _addresses("from", wanted.from_)
    if len(sender) != 1:
        raise ApiError(400, "from: write one address, or the whole message into mime")
    try:
        return composing.compose(
            composing.Letter(
                sender[0],
                _addresses("to", wanted.to),
                _addresses("cc", wanted.cc),
                _addresses("replyto", wanted.replyto),
                wanted.subject,
                wanted.text or None,
                wanted.html or None,
                _unsubscribe(wanted.unsubscribe),
                tuple(wanted.extra.items()),
                [_attachment(number, each) for number, each in enumerate(wanted.attachments)],
            ),
            entropy,
        )
    except ValueError as error:
        raise ApiError(400, str(error)) from None


def _addresses(field: str, texts: list[str]) -> list[Address]:
    if sum(map(len, texts)) > HEADER_LIMIT:
        raise ApiError(400, f"{field}: these are more than a header may have")
    try:
        return read_addresses(texts, addressing.read_domain) if texts else []
    except ValueError as error:
        raise ApiError(400, f"{field}: {error}") from None


def _unsubscribe(given: Unsubscribe | None) -> composing.Unsubscribe | None:
    if given is None:
        return None
    email = _addresses("unsubscribe.email", [given.email])
    if len(email) > 1:
        raise ApiError(400, "unsubscribe.email: write one address")
    return composing.Unsubscribe(email[0] if email else None, given.url, given.oneclick)


def _attachment(number: int, given: Attachment) -> composing.Attachment:
    if given.url:
        raise ApiError(400, f"attachments.{number}.url: attachments by URL are not available here; send them in data")
    if given.data is None:
        raise ApiError(400, f"attachments.{number}.data: write what is in the file, in base64")
    return composing.Attachment(given.data, given.name, given.type, given.cid)


def _read_options(given: Mapping[str, Any], rules: Rules) -> dict[str, str]:
    """What is an option, as text, by the names that the sender chose; what is none does not count."""
    options: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in given.items():
        canonical = rules.options.get(option_key(name))
        if canonical is None or value is None or value == "":
            continue
        if canonical in seen:
            raise ApiError(400, f"{shown(name)}: given twice, under two of its names")
        seen.add(canonical)
        options[name] = _tags(value) if canonical == "tags" else _scalar(name, value)
    return options


def _scalar(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise ApiError(400, f"{shown(name)}: write true, false or a text")


def _tags(value: Any) -> str:
    """Tags with commas between; they come as a list, or with commas or semicolons between."""
    given = value if isinstance(value, list) else [value]
    if not all(isinstance(each, (str, int)) for each in given):
        raise ApiError(400, "tags: write a list of words, or words with commas or semicolons between")
    return ",".join(tag.strip() for each in given for tag in _TAG_ENDS.split(str(each)) if tag.strip())
