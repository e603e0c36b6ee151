"""The way to a domain: its hosts by DNS, their addresses, and those of them that mail may be sent to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.delivery import mx
from smtpeter.delivery.networks import Networks, Verdict
from smtpeter.delivery.remembered import Remembered
from smtpeter.interfaces import IRouter
from smtpeter.locations import find_domain, version_of
from smtpeter.model.answer import Answer, AnswerKind, Mx, Question, RecordType
from smtpeter.model.delivery import Outcome, OutcomeKind
from smtpeter.model.route import Route, Target

SHORTEST = 10.0
LONGEST = 3600.0
"""Seconds for which a way that was found is known."""

UNCERTAIN = 60.0
"""At most so long where some look-ups failed; between half of it and all where there is no way now."""

LONGEST_REFUSAL = 300.0
"""At most so long where there is no way at all: somebody may be mending it."""

ROOM = 200_000
"""Targets that are remembered."""

JUDGED = 60.0
"""Seconds for which an address is as it was found, though this machine may get another one."""

Ask = Callable[[Question], "Deferred[Answer]"]

_FAMILIES = ((6, RecordType.AAAA), (4, RecordType.A))


class _Addresses(NamedTuple):
    """What was found of one host: by family, the answers."""

    host: Mx
    answers: Sequence[Answer]


@implementer(IRouter)
class Router:
    """Finds ways by DNS (RFC 5321 section 5.1).

    ``ask`` is :meth:`smtpeter.delivery.resolver.Resolver.ask`, ``seconds`` a monotonic time.  ``own_names`` are the
    names of this server, in lower case.  ``families`` tells whether IPv4 and IPv6 can be used: 4, 6 or both.
    ``provider`` tells who all of these hosts are of, where it knows; that is then the name of the site.
    """

    def __init__(
        self,
        ask: Ask,
        networks: Networks,
        *,
        port: int,
        own_names: Collection[str],
        families: Callable[[], Collection[int]],
        seconds: Callable[[], float],
        random: mx.Random,
        provider: Callable[[Sequence[str]], str | None] = mx.nobody_in_particular,
        room: int = ROOM,
    ) -> None:
        self._ask = ask
        self._networks = networks
        self._port = port
        self._own_names = frozenset(own_names)
        self._families = families
        self._random = random
        self._provider = provider
        self._ways: Remembered[str, Route | Outcome] = Remembered(seconds, room)
        self._verdicts: Remembered[str, Verdict] = Remembered(seconds, room)
        self._waiting: dict[str, list[Deferred[Route | Outcome]]] = {}

    def known(self, domain: str) -> Route | Outcome | None:
        """See :meth:`smtpeter.interfaces.IRouter.known`."""
        found = self._ways.get(domain)
        return None if found is None else found[0]

    def route(self, domain: str) -> Deferred[Route | Outcome]:
        """See :meth:`smtpeter.interfaces.IRouter.route`.  It may be cancelled."""
        known = self.known(domain)
        if known is not None:
            return succeed(known)
        under_way = domain in self._waiting
        waiters = self._waiting.setdefault(domain, [])
        waiter: Deferred[Route | Outcome] = Deferred(waiters.remove)
        waiters.append(waiter)
        if not under_way:
            Deferred.fromCoroutine(self._find(domain)).addBoth(self._found, domain)
        return waiter

    def _found(self, result: Route | Outcome | Failure, domain: str) -> None:
        waiters = self._waiting.pop(domain)
        while waiters:  # one may cancel another
            waiters.pop().callback(result)

    async def _find(self, domain: str) -> Route | Outcome:
        if domain.startswith("["):
            return self._remember(domain, self._literal(domain), LONGEST)
        answer = await self._ask(Question(domain, RecordType.MX))
        found = mx.find_hosts(domain, answer, self._own_names, self._random, self._provider)
        if isinstance(found, Outcome):
            return self._remember(domain, found, answer.ttl)
        questions = [Question(host.host, kind) for host in found.hosts for _, kind in _FAMILIES]
        answers = await gatherResults([self._ask(question) for question in questions])
        pairs = zip(answers[::2], answers[1::2], strict=True)
        looked_up = [_Addresses(host, pair) for host, pair in zip(found.hosts, pairs, strict=True)]
        way = self._way(domain, found, looked_up)
        ttl = min(answer.ttl, *(each.ttl for each in answers))
        if any(each.kind is AnswerKind.TROUBLE for each in answers):
            ttl = min(ttl, UNCERTAIN)
        return self._remember(domain, way, ttl)

    def _remember(self, domain: str, way: Route | Outcome, ttl: float) -> Route | Outcome:
        size = 1
        if isinstance(way, Route):
            ttl, size = min(max(ttl, SHORTEST), LONGEST), len(way.targets)
        elif way.kind is OutcomeKind.DEFERRED:
            ttl = UNCERTAIN * (1 + self._random()) / 2
        else:
            ttl = min(max(ttl, SHORTEST), LONGEST_REFUSAL)
        self._ways.put(domain, way, ttl, size)
        return way

    def _literal(self, domain: str) -> Route | Outcome:
        """The way to ``[192.0.2.1]`` or ``[ipv6:2001:db8::1]`` (RFC 5321 section 4.1.3)."""
        address = domain[1:-1].removeprefix("ipv6:")
        version = version_of(address)
        try:
            ip_address(address)
        except ValueError:
            return mx.without_address(domain)
        match self._judge(address):
            case Verdict.OURS:
                return mx.loops_back(domain)
            case Verdict.PROHIBITED:
                return mx.prohibited(domain)
        if version not in self._families():
            return mx.unreachable(domain, f"IPv{version}")
        return Route(domain, (Target(domain, address, self._port),))

    def _judge(self, address: str) -> Verdict:
        found = self._verdicts.get(address)
        if found is not None:
            return found[0]
        verdict = self._networks.judge(address, self._port)
        self._verdicts.put(address, verdict, JUDGED)
        return verdict

    def _way(self, domain: str, found: mx.Hosts, looked_up: Sequence[_Addresses]) -> Route | Outcome:
        """What comes of the addresses of all hosts."""
        share = mx.share_of(len(looked_up))  # of each family: more are not used, and each costs a look at this machine
        looked_up = [
            each._replace(answers=[answer._replace(addresses=answer.addresses[:share]) for answer in each.answers])
            for each in looked_up
        ]
        verdicts = {
            address: self._judge(address)
            for each in looked_up
            for answer in each.answers
            for address in answer.addresses
        }
        ours = [
            each.host.preference
            for each in looked_up
            if any(verdicts[address] is Verdict.OURS for answer in each.answers for address in answer.addresses)
        ]
        before_us = mx.before([each.host for each in looked_up], ours)
        remaining = [each for each in looked_up if each.host in before_us]
        families = self._families()
        targets: dict[str, Target] = {}
        out_of_reach = set()
        for host, answers in remaining:
            fit = []
            for (version, _), answer in zip(_FAMILIES, answers, strict=True):
                addresses = [address for address in answer.addresses if verdicts[address] is Verdict.FIT]
                if version in families:
                    fit.append(sorted(addresses, key=lambda _: self._random()))
                elif addresses:
                    out_of_reach.add(f"IPv{version}")
            for address in mx.interleaved(fit, mx.share_of(len(remaining))):
                targets.setdefault(address, Target(host.host, address, self._port, host.preference))
        if targets:
            return Route(found.site, tuple(targets.values()), hosts=found.group)
        for each in remaining:
            for answer in each.answers:
                if answer.kind is AnswerKind.TROUBLE:
                    return mx.unknown(domain, f"of its host {each.host.host}, {answer.text}")
        if out_of_reach:
            return mx.unreachable(domain, out_of_reach.pop())
        if ours:
            return mx.loops_back(domain)
        return mx.prohibited(domain) if verdicts else mx.without_address(domain)


@implementer(IRouter)
class Relays:
    """Other ways for some domains, ahead of ``inner``.

    ``table`` is by domain; ``*.example.com`` is every domain below example.com, the nearest wins.
    """

    def __init__(self, inner: IRouter, table: Mapping[str, Route]) -> None:
        self._inner = inner
        self._table = table

    def known(self, domain: str) -> Route | Outcome | None:
        """See :meth:`smtpeter.interfaces.IRouter.known`."""
        return self._listed(domain) or self._inner.known(domain)

    def route(self, domain: str) -> Deferred[Route | Outcome]:
        """See :meth:`smtpeter.interfaces.IRouter.route`."""
        listed = self._listed(domain)
        return succeed(listed) if listed else self._inner.route(domain)

    def _listed(self, domain: str) -> Route | None:
        return find_domain(self._table, domain)
