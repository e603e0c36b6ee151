"""Ways to domains, as a test wants them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from smtpeter.interfaces import IRouter
from smtpeter.model.delivery import Outcome
from smtpeter.model.route import Route, Target

Way = Route | Outcome


def way(site: str, hosts: str = "", *names: str) -> Route:
    """The way to a site whose only host has its name, or to these hosts."""
    targets = tuple(Target(name, "", 25) for name in names or (hosts or site,))
    return Route(site, targets, hosts=hosts)


@implementer(IRouter)
class FakeRouter:
    """``ways`` by domain; others are told by ``find``.  With ``known`` all are known, otherwise those in ``known_now``.

    With ``slow`` answers wait in ``waiting`` until :meth:`answer`.  ``asked`` are the domains that were asked for.
    """

    def __init__(self, ways: dict[str, Way] | None = None, *, known: bool = True) -> None:
        self.ways = ways or {}
        self.find: Callable[[str], Way] = lambda domain: way(domain)
        self.all_known = known
        self.known_now: set[str] = set()
        self.slow = False
        self.asked: list[str] = []
        self.waiting: list[tuple[str, Deferred[Way]]] = []

    def _way(self, domain: str) -> Way:
        if domain not in self.ways:
            self.ways[domain] = self.find(domain)
        return self.ways[domain]

    def known(self, domain: str) -> Way | None:
        return self._way(domain) if self.all_known or domain in self.known_now else None

    def route(self, domain: str) -> Deferred[Way]:
        known = self.known(domain)
        if known is not None:
            return succeed(known)
        self.asked.append(domain)
        if self.slow:
            self.waiting.append((domain, Deferred()))
            return self.waiting[-1][1]
        return succeed(self._learn(domain))

    def answer(self) -> None:
        """All that were asked for are found."""
        waiting, self.waiting = self.waiting, []
        for domain, deferred in waiting:
            deferred.callback(self._learn(domain))

    def _learn(self, domain: str) -> Way:
        self.known_now.add(domain)
        return self._way(domain)
