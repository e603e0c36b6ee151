"""The portal's doorkeeper: whoever guesses waits longer and longer for the answer."""

from __future__ import annotations

from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from smtpeter.auth.access import WrongSecret
from smtpeter.auth.attempts import Attempts
from smtpeter.errors import Refusal
from smtpeter.locations import network_of

BUSY_DELAY = 2.0
"""Seconds until somebody is told that too much is under way: whoever comes again at once gains nothing."""

SOONEST = 0.1
"""Seconds.  No failure is told sooner: what was found on the way, and how long it took, does not show."""


class GuardedPortal(Portal):
    """A portal that slows down guesses; see :mod:`smtpeter.auth.attempts`.

    Fails as the portal does, later; and with Refusal (454) where too much is under way from one address.
    """

    _log = Logger()

    def __init__(self, portal: Portal, attempts: Attempts, timers: IReactorTime) -> None:
        self.realm = portal.realm
        self.checkers = portal.checkers
        self._attempts = attempts
        self._timers = timers

    def login(self, credentials: Any, mind: Any, *interfaces: Any) -> Deferred[Any]:
        """See :meth:`twisted.cred.portal.Portal.login`."""
        return Deferred.fromCoroutine(self._login(credentials, mind, interfaces))

    async def _login(self, credentials: Any, mind: Any, interfaces: tuple[Any, ...]) -> Any:
        attempts, began = self._attempts, self._timers.seconds()
        network, name = network_of(getattr(credentials, "address", "")), _name_of(credentials)
        if not attempts.begin(network, name, began):
            await self._wait(BUSY_DELAY)
            raise Refusal(
                454, "4.7.0", "Too many logins from your address failed; try again later", f"guesses from {network}"
            )
        try:
            try:
                avatar = await super().login(credentials, mind, *interfaces)
            except UnauthorizedLogin as error:
                now = self._timers.seconds()
                failed = attempts.failed(network, name, now)
                if failed.alarm:
                    self._warn(network, name if isinstance(error, WrongSecret) else "", failed.alarm)
                await self._wait(max(failed.delay, began + SOONEST - now))
                raise
            except Refusal:
                await self._wait(BUSY_DELAY)
                raise
            await self._wait(attempts.succeeded(network, name, self._timers.seconds()))
            return avatar
        finally:
            attempts.end(network)

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            await deferLater(self._timers, seconds)

    def _warn(self, network: str, name: str, failures: int) -> None:
        # A name that is nobody's may be a password in the wrong place: it does not go to the log.
        self._log.warn(
            "failed logins again and again: address={address} login={login} failures={failures}",
            event="guesses",
            address=network,
            login=name or "(unknown)",
            failures=failures,
        )


def _name_of(credentials: Any) -> str:
    """What a login is aimed at: the user's name; of a token nothing, for to guess one is to guess all of it."""
    name = getattr(credentials, "username", b"")
    return (name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)).lower()
