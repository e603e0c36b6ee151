"""``smtpeter dns``: what has to be published, as zone files have it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import NamedTuple

import click

from smtpeter.cli.domain import find_domain, sender_domain
from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import json_option, print_json
from smtpeter.cli.zone import Record, key_records
from smtpeter.model.domain import SenderDomain
from smtpeter.settings import Settings, SourceAddress
from smtpeter.store.opening import result_of

# Addresses that stand for the world: nothing is ever sent there, but the system tells how it would be.
_ANYWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


class Section(NamedTuple):
    """Records that belong into one zone; ``remarks`` are whole sentences, ``advice`` records that are only proposed."""

    title: str
    records: Sequence[Record]
    remarks: Sequence[str]
    advice: Sequence[Record] = ()


@click.command()
@click.argument("name", metavar="[DOMAIN]", type=sender_domain, required=False)
@json_option
@pass_installation
def dns(installation: Installation, name: str | None, as_json: bool) -> None:
    """Print the DNS records to publish: for a sender domain, or for all of them and for this server."""
    with installation.open() as store:
        domains = result_of(store.domains.domains()) if name is None else [find_domain(store, name)]
    settings = installation.settings
    sections = [of_sender_domain(each, settings.hostname) for each in domains]
    if name is None:
        sections.append(of_server(settings, system_addresses(), {each.domain for each in domains}))
    if as_json:
        print_json([_describe(each) for each in sections])
        return
    click.echo("\n\n".join("\n".join(_lines(each)) for each in sections))


def of_sender_domain(domain: SenderDomain, hostname: str) -> Section:
    """What the owner of a sender domain publishes."""
    name = domain.domain
    spf = Record(name, "TXT", f"v=spf1 include:_senderspf.{hostname} a mx ~all")
    dmarc = Record(f"_dmarc.{name}", "TXT", f"v=DMARC1; p=none; rua=mailto:postmaster@{name}")
    remarks = [f"A domain has one SPF record: where there is one, put include:_senderspf.{hostname} into it."]
    if not domain.keys:
        remarks.append("There is no key, so that mail from this domain is not signed.")
    return Section(f"{name}, of {domain.email}", [*key_records(domain), spf], remarks, [dmarc])


def of_server(settings: Settings, system: Sequence[str], taken: set[str]) -> Section:
    """What we publish ourselves.

    ``system`` are the addresses that the system would choose; ``taken`` are domains that have an SPF record already.
    """
    hostname, bounces = settings.hostname, settings.bounces.domain
    remarks: list[str] = []
    sources = _sources(settings, system, remarks)
    mechanisms = [f"ip{ipaddress.ip_address(each.address).version}:{each.address}" for each in sources]
    records = [
        Record(f"_senderspf.{hostname}", "TXT", " ".join(["v=spf1", *mechanisms, "~all"])),
        *(
            Record(name, "TXT", f"v=spf1 include:_senderspf.{hostname} -all")
            for name in dict.fromkeys((hostname, bounces, *(each.hostname for each in sources)))
            if name not in taken
        ),
        Record(bounces, "MX", f"10 {hostname}."),
        *(_address_record(each) for each in sources),
    ]
    for each in sources:
        reverse = ipaddress.ip_address(each.address).reverse_pointer
        remarks.append(f"{each.address} has to have the PTR record: {reverse}. IN PTR {each.hostname}.")
    return Section(f"this server, {hostname}", records, remarks)


def system_addresses() -> list[str]:
    """The addresses that the system would send from.  No packet is sent."""
    found = []
    for family, anywhere in _ANYWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((anywhere, 9))
                found.append(probe.getsockname()[0].partition("%")[0])
        except OSError:
            pass  # it has no way there
    return found


def _sources(settings: Settings, system: Sequence[str], remarks: list[str]) -> list[SourceAddress]:
    """The addresses that the world sees mail come from, each with its name."""
    delivery = settings.delivery
    if delivery.mode == "relay":
        remarks.append("Mail leaves through a relay: put into _senderspf what its operator tells, such as an include:.")
    elif delivery.relays:
        remarks.append("Some mail leaves through relays: put into _senderspf what their operators tell, too.")
    sources = []
    for each in delivery.addresses or [SourceAddress(address) for address in system]:
        if ipaddress.ip_address(each.address).is_global:
            sources.append(SourceAddress(each.address, each.hostname or settings.hostname))
        else:
            remarks.append(f"{each.address} is not a public address: put in the one that the world sees instead.")
    if not sources:
        remarks.append(
            f"The addresses are not known: publish A and AAAA records of {settings.hostname}, and put ip4: and ip6: "
            "with them into _senderspf."
        )
    return sources


def _address_record(source: SourceAddress) -> Record:
    return Record(source.hostname, "AAAA" if ":" in source.address else "A", source.address)


def _lines(section: Section) -> list[str]:
    lines = [f"; --- {section.title}"]
    lines += [record.line() for record in section.records]
    lines += [f"; {remark}" for remark in section.remarks]
    if section.advice:
        lines.append("; Receivers then tell you what they make of your mail (DMARC); change none to quarantine later:")
        lines += [f"; {record.line()}" for record in section.advice]
    return lines


def _describe(section: Section) -> dict[str, object]:
    return {
        "title": section.title,
        "records": [record._asdict() for record in section.records],
        "advice": [record._asdict() for record in section.advice],
        "remarks": list(section.remarks),
    }
