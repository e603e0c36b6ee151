"""From what the DNS says of a domain to the hosts that take its mail, in order (RFC 5321 section 5.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from smtpeter.model.answer import Answer, AnswerKind, Mx
from smtpeter.model.delivery import FailureKind, Outcome, OutcomeKind

MOST_HOSTS = 20
MOST_TARGETS = 40

_LONGEST_SITE = 80
_HASH_DIGITS = 16  # nobody can make a set of hosts of his own that has another's name

_LONGEST_HOST = 253
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)

Random = Callable[[], float]
"""A number from 0 up to 1, another one each time."""


class Hosts(NamedTuple):
    """Where a domain's mail goes: ``hosts`` in the order in which they are tried, the name of their site, and that of
    their set (``group``) where it is another one."""

    site: str
    hosts: tuple[Mx, ...]
    group: str = ""


def nobody_in_particular(hosts: Sequence[str]) -> None:
    """Every set of hosts is a site of its own."""


def find_hosts(
    domain: str,
    answer: Answer,
    own_names: Collection[str],
    random: Random,
    provider: Callable[[Sequence[str]], str | None] = nobody_in_particular,
) -> Hosts | Outcome:
    """The hosts of a domain for whose MX records this is the answer; or what becomes of its mail where it has none.

    Where we are among them by one of ``own_names`` (lower case) only those remain that are preferred to us.
    ``provider`` names the site where all hosts are of one whom it knows.
    """
    match answer.kind:
        case AnswerKind.TROUBLE:
            return unknown(domain, answer.text)
        case AnswerKind.NXDOMAIN:
            return _failed("5.1.2", f"The domain {domain} does not exist")
        case AnswerKind.NODATA:
            listed: Sequence[Mx] = (Mx(0, answer.name),)  # the implicit MX
        case AnswerKind.FOUND:
            listed = answer.hosts
            if all(not mx.host for mx in listed):
                return _failed("5.1.10", f"The domain {domain} takes no mail (null MX, RFC 7505)", code=556)
    usable = _usable(listed)
    if not usable:
        return _failed("5.1.2", f"The MX records of {domain} name no host")
    ours = [mx.preference for mx in usable if mx.host in own_names]
    hosts = before(usable, ours)
    if not hosts:
        return loops_back(domain)
    ordered = sorted(hosts, key=lambda mx: (mx.preference, random()))
    names = [mx.host for mx in usable]
    name = site_name(names)
    site = provider(names) or name
    return Hosts(site, tuple(ordered[:MOST_HOSTS]), "" if site == name else name)


def before(hosts: Sequence[Mx], ours: Sequence[int]) -> Sequence[Mx]:
    """Those that are preferred to every one of our own preferences: sending to others could come back to us."""
    return [mx for mx in hosts if mx.preference < min(ours)] if ours else hosts


def interleaved(addresses: Sequence[Sequence[str]], share: int) -> list[str]:
    """At most ``share`` addresses of one host, by turns from each family."""
    turns = max(map(len, addresses), default=0)
    return [family[turn] for turn in range(turns) for family in addresses if turn < len(family)][:share]


def share_of(hosts: int) -> int:
    """How many addresses each of so many hosts may have, so that none takes the room of the others."""
    return max(2, MOST_TARGETS // max(1, hosts))


def site_name(hosts: Iterable[str]) -> str:
    """A name for a set of hosts: the same whatever their order, and another one for every other set.

    It is told to operators and kept: all hosts, or for long lists the first, how many more, and a digest of all.
    """
    names = sorted(set(hosts))
    name = ",".join(names)
    if len(name) <= _LONGEST_SITE or len(names) == 1:
        return name
    return f"{names[0]}+{len(names) - 1}~{hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]}"


def unknown(domain: str, text: str) -> Outcome:
    """Nobody knows now where mail for the domain goes."""
    return _deferred("4.4.3", f"The hosts of {domain} cannot be found out now: {text}")


def unreachable(domain: str, family: str) -> Outcome:
    """It can be reached over a family of addresses only that this server does not have."""
    return _deferred("4.4.4", f"The hosts of {domain} have {family} addresses only, which cannot be reached from here")


def without_address(domain: str) -> Outcome:
    """None of its hosts has an address."""
    return _failed("5.1.2", f"The domain {domain} has no host with an address that takes mail")


def prohibited(domain: str) -> Outcome:
    """All its addresses are such as mail must not be sent to."""
    return _failed("5.4.6", f"Mail for {domain} loops back: all addresses of its hosts are local or private ones")


def loops_back(domain: str) -> Outcome:
    """Mail for the domain would come back to us."""
    text = f"Mail for {domain} loops back: its DNS says that it is taken here, but this is not where it is read"
    return _failed("5.4.6", text, FailureKind.CONFIGURATION)


def _deferred(enhanced: str, text: str) -> Outcome:
    return Outcome(OutcomeKind.DEFERRED, 0, enhanced, text, stage="route", failure=FailureKind.NETWORK)


def _failed(enhanced: str, text: str, failure: FailureKind = FailureKind.RECIPIENT_HARD, code: int = 0) -> Outcome:
    return Outcome(OutcomeKind.FAILED, code, enhanced, text, stage="route", failure=failure)


def _usable(listed: Sequence[Mx]) -> list[Mx]:
    """Names of hosts, each once by its best preference.  A dotted number is none, though some domains have it there."""
    best: dict[str, int] = {}
    for preference, host in sorted(listed):
        if len(host) <= _LONGEST_HOST and _HOST.fullmatch(host) and not host.rpartition(".")[2].isdecimal():
            best.setdefault(host, preference)
    return [Mx(preference, host) for host, preference in best.items()]
