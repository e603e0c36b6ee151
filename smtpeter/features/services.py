"""What each feature is given of the program around it, the same in the server, its workers and the commands."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from zope.interface import implementer

from smtpeter.interfaces import IFeatureServices, ISenderDomains
from smtpeter.model.domain import SigningKey
from smtpeter.model.event import EventKind
from smtpeter.model.feature import WebRequest
from smtpeter.seals import LinkSeal
from smtpeter.settings import Settings

Record = Callable[[EventKind, str, int, Mapping[str, Any], WebRequest], None]
IsBlocked = Callable[[int | None, str, str], bool]


class KeySource(Protocol):
    """The master keys, as far as features are concerned: nobody gets one of them."""

    @property
    def current(self) -> str:
        """The id of the key with which new things are made."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys."""

    def derive(self, purpose: str, key_id: str | None = None) -> bytes:
        """The 32-byte key for a purpose."""


class FeatureKeys(NamedTuple):
    """One feature's keys by the ids of the master keys that they come from.

    It is all that a worker needs, and nothing that another feature uses can be told from it.
    """

    current: str
    keys: Mapping[str, bytes]

    def derive(self, purpose: str, key_id: str) -> bytes:
        """The 32-byte key for a purpose.

        :raises KeyError: where there is no key with this id.
        """
        return hmac.digest(self.keys[key_id], purpose.encode("utf-8"), "sha256")

    def to_json(self) -> dict[str, Any]:
        """For another process of ours.  Whoever reads it can forge the feature's links."""
        return {"current": self.current, "keys": {key_id: key.hex() for key_id, key in self.keys.items()}}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> FeatureKeys:
        """What :meth:`to_json` told."""
        return FeatureKeys(
            document["current"], {key_id: bytes.fromhex(key) for key_id, key in document["keys"].items()}
        )


def keys_of(source: KeySource, name: str) -> FeatureKeys:
    """The keys of the feature with this name."""
    return FeatureKeys(source.current, {key_id: source.derive(f"feature {name}", key_id) for key_id in source.ids})


class Surroundings(NamedTuple):
    """What is the same for all features: see :class:`smtpeter.interfaces.IFeatureServices`."""

    hostname: str
    tracking_url: str
    bounce_domain: str

    @staticmethod
    def of(settings: Settings) -> Surroundings:
        """As they are configured."""
        return Surroundings(settings.hostname, settings.web.tracking_url, settings.bounces.domain)


def _not_served(*arguments: Any) -> Any:
    raise RuntimeError("this is possible only where requests are served")


@implementer(IFeatureServices)
class FeatureServices:
    """One feature's.  ``record`` and ``is_blocked`` are given only where requests are served, ``domains`` only where
    mail is delivered."""

    def __init__(
        self,
        surroundings: Surroundings,
        keys: FeatureKeys,
        record: Record = _not_served,
        is_blocked: IsBlocked = _not_served,
        domains: ISenderDomains | None = None,
    ) -> None:
        self.hostname = surroundings.hostname
        self.tracking_url = surroundings.tracking_url
        self.bounce_domain = surroundings.bounce_domain
        self.links = LinkSeal(keys.current, self._link_key)
        self._keys = keys
        self._record = record
        self._is_blocked = is_blocked
        self._domains = domains
        self._link_keys: dict[str, bytes] = {}

    def key(self, purpose: str, key_id: str | None = None) -> bytes:
        """See :meth:`smtpeter.interfaces.IFeatureServices.key`."""
        return self._keys.derive(f"purpose {purpose}", self._keys.current if key_id is None else key_id)

    def key_id(self) -> str:
        """See :meth:`smtpeter.interfaces.IFeatureServices.key_id`."""
        return self._keys.current

    def record(
        self, kind: EventKind, submission: str, number: int, data: Mapping[str, Any], request: WebRequest
    ) -> None:
        """See :meth:`smtpeter.interfaces.IFeatureServices.record`."""
        self._record(kind, submission, number, data, request)

    def is_blocked(self, account: int | None, submission: str, domain: str = "") -> bool:
        """See :meth:`smtpeter.interfaces.IFeatureServices.is_blocked`."""
        return self._is_blocked(account, submission, domain)

    def signing_keys(self, account: int | None, domain: str) -> Sequence[SigningKey]:
        """See :meth:`smtpeter.interfaces.IFeatureServices.signing_keys`."""
        return self._sender_domains.keys(account, domain)

    def has_signing_keys(self, account: int | None) -> bool:
        """See :meth:`smtpeter.interfaces.IFeatureServices.has_signing_keys`."""
        return self._sender_domains.has_keys(account)

    def longest_signing_key(self, account: int | None) -> int:
        """See :meth:`smtpeter.interfaces.IFeatureServices.longest_signing_key`."""
        return self._sender_domains.longest_key(account)

    @property
    def _sender_domains(self) -> ISenderDomains:
        if self._domains is None:
            raise RuntimeError("this is possible only where mail is delivered")
        return self._domains

    def _link_key(self, key_id: str) -> bytes:
        key = self._link_keys.get(key_id)
        if key is None:
            key = self._link_keys[key_id] = self._keys.derive("links", key_id)
        return key


def services_of(
    settings: Settings,
    source: KeySource,
    record: Record = _not_served,
    is_blocked: IsBlocked = _not_served,
    domains: ISenderDomains | None = None,
) -> Callable[[str], FeatureServices]:
    """What makes the services of a feature by its name, where the master keys are at hand."""
    around = Surroundings.of(settings)
    return lambda name: FeatureServices(around, keys_of(source, name), record, is_blocked, domains)
