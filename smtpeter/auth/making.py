"""Makes logins, tokens and first passwords, for those who give them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.auth.keys import KeyRing
from smtpeter.auth.secrets import NewSecret, hash_password, make_login, make_password, make_token
from smtpeter.interfaces import ISecretMaker


@implementer(ISecretMaker)
class SecretMaker:
    """Secrets with the current key of ``keys``.

    ``defer_to_thread(function, *arguments)`` runs a slow function elsewhere and returns a Deferred.
    """

    def __init__(self, keys: KeyRing, defer_to_thread: Callable[..., Deferred[Any]]) -> None:
        self._keys = keys
        self._defer_to_thread = defer_to_thread

    def login(self, username: str | None = None) -> NewSecret:
        """See :class:`smtpeter.interfaces.ISecretMaker`."""
        return make_login(self._keys, username)

    def token(self) -> NewSecret:
        """See :class:`smtpeter.interfaces.ISecretMaker`."""
        return make_token(self._keys)

    def password(self) -> Deferred[tuple[str, str]]:
        """See :class:`smtpeter.interfaces.ISecretMaker`."""
        password = make_password()
        return self._defer_to_thread(hash_password, password).addCallback(lambda hashed: (password, hashed))
