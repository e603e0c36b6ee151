"""What ``smtpeter check`` says of how mail will leave: remarks that stop nothing.

No receiver is asked.  The DNS is, for a second altogether: where nobody answers, nothing is said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

from smtpeter.cli.dns import system_addresses
from smtpeter.delivery.machine import is_own_address
from smtpeter.delivery.nameservers import NameServers, Silence
from smtpeter.locations import parse_relay
from smtpeter.model.answer import Answer, AnswerKind, Question, RecordType
from smtpeter.model.route import TlsPolicy
from smtpeter.settings import Settings

PATIENCE = 1.0
"""Seconds for all questions to the DNS."""

MOST_ADDRESSES = 20
"""Source addresses that are looked up."""

_PORT = 25
_STRICT = (TlsPolicy.ENCRYPT, TlsPolicy.REQUIRE)

Ask = Callable[[Question], Answer]


class _Unknown(Exception):
    """The DNS says nothing of use now."""


def inspect_outbound(settings: Settings) -> Iterator[str]:
    """The remarks, one line each."""
    delivery = settings.delivery
    if delivery.mode != "capture":
        for domain, url in delivery.relays.items():
            relay = parse_relay(url)
            if relay.scheme == "smtp" and relay.username:
                yield f"delivery.relays: smtp:// for {domain} sends user and password unencrypted; use smtp+starttls://"
    if delivery.mode != "direct":
        return
    if delivery.port != _PORT:
        yield f"delivery.port: mail servers of the world listen at port {_PORT}, not at {delivery.port}"
    if delivery.tls in _STRICT:
        yield (
            f'delivery.tls: "{delivery.tls}" for everybody: mail waits, and is returned in the end, where a receiver '
            "does not offer that; tls_domains has it for single domains"
        )
    for source in delivery.addresses:
        if not is_own_address(ip_address(source.address)):
            yield f"delivery.addresses: {source.address} is not an address of this machine: nothing can leave from it"
        if source.hostname and "." not in source.hostname:
            yield f"delivery.addresses: {source.hostname} is not fully qualified; its PTR record cannot be that"
    end = time.monotonic() + PATIENCE
    name_servers = NameServers(delivery.resolver)

    def ask(question: Question) -> Answer:
        left = end - time.monotonic()
        return name_servers.look_up(question, max(left, 0.0), max(left / 2, 0.0))

    yield from inspect_records(named_sources(settings, system_addresses()), ask)


def named_sources(settings: Settings, system: Sequence[str]) -> Sequence[tuple[str, str]]:
    """The public addresses that mail leaves from, each with the name that is said there in EHLO; ``system`` are those
    that the system chooses where none is configured."""
    configured = [(source.address, source.hostname or settings.hostname) for source in settings.delivery.addresses]
    sources = configured or [(address, settings.hostname) for address in system]
    return [(address, name) for address, name in sources if ip_address(address).is_global][:MOST_ADDRESSES]


def inspect_records(sources: Sequence[tuple[str, str]], ask: Ask) -> Iterator[str]:
    """Whether addresses and names lead to each other, as many receivers want it."""
    try:
        for address, name in sources:
            yield from _inspect_source(address, name, ask)
    except (_Unknown, Silence):
        return


def _inspect_source(address: str, name: str, ask: Ask) -> Iterator[str]:
    kind = RecordType.AAAA if ":" in address else RecordType.A
    names = _values(ask(Question(ip_address(address).reverse_pointer, RecordType.PTR)))
    if not names:
        yield f"DNS: {address} has no PTR record, and many receivers take no mail from it: it ought to be {name}"
    elif name not in names:
        yield f"DNS: the PTR record of {address} is {', '.join(names[:3])}, and not {name}, as we call ourselves there"
    addresses = _values(ask(Question(name, kind)))
    if ip_address(address) not in map(ip_address, addresses):
        found = ", ".join(addresses[:3]) or "nothing"
        yield f"DNS: {name}, as we call ourselves at {address}, has {found} as {kind} record: see smtpeter dns"


def _values(answer: Answer) -> Sequence[str]:
    if answer.kind is AnswerKind.TROUBLE:
        raise _Unknown
    return answer.addresses
