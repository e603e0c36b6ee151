"""What ``smtpeter check`` looks at.  Everything is only looked at: nothing is made, opened for writing, or sent."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

from smtpeter.auth.keys import KeyRing, load_or_create
from smtpeter.auth.pem import read_pair
from smtpeter.auth.tls import ServerTls
from smtpeter.cli.endpoints import bind_error, tcp_addresses
from smtpeter.cli.outbound import inspect_outbound
from smtpeter.cli.running import is_served
from smtpeter.delivery import shaping
from smtpeter.errors import ConfigError
from smtpeter.features.catalog import configure, find_features
from smtpeter.features.discovery import CatalogError
from smtpeter.features.services import services_of
from smtpeter.interfaces import IClock
from smtpeter.locations import parse_relay
from smtpeter.ownership import acting_as_owner, refuse_what_is_closed
from smtpeter.settings import Settings
from smtpeter.store.opening import bound_fingerprint, number_of_accounts
from smtpeter.store.sqlite.connection import database_path

_RENEW_DAYS = 14
_DAY = 86400.0


class Findings(NamedTuple):
    """What stops a start or would lose mail, and what should be better; one line each."""

    problems: list[str]
    warnings: list[str]


class _Warning(str):
    """A finding that stops nothing."""


def inspect(settings: Settings, clock: IClock) -> Findings:
    """All findings about these settings on this machine."""
    found = list(_inspect_runnable(settings))
    found += _inspect_endpoints(settings)  # these two as the caller, as at a start: root may bind any port
    found += _inspect_certificate(settings, clock)
    with acting_as_owner(settings.data_dir):
        try:
            refuse_what_is_closed(settings)
        except ConfigError as error:
            found.append(str(error))
        else:
            found += _inspect_data_directory(settings)
            found += _inspect_keys(settings)
            found += _inspect_store(settings)
            found += _inspect_senders(settings)
        found += _inspect_features(settings)
        found += _inspect_renewal(settings)
    if not settings.demo:
        found += _inspect_names(settings)
        found += map(_Warning, inspect_outbound(settings))
    return Findings(
        [each for each in found if not isinstance(each, _Warning)],
        [each for each in found if isinstance(each, _Warning)],
    )


def _inspect_runnable(settings: Settings) -> Iterator[str]:
    try:
        shaping.load(settings.delivery.shaping)
    except ConfigError as error:
        yield from str(error).splitlines()
    if settings.delivery.mode == "relay":
        relay = parse_relay(settings.delivery.relay)
        if relay.scheme == "smtp" and relay.username:
            yield _Warning("delivery.relay: smtp:// sends user and password unencrypted; use smtp+starttls://")


def _inspect_endpoints(settings: Settings) -> Iterator[str]:
    taken: dict[tuple[str, int], str] = {}
    for door in ("smtp", "mx", "smtps", "https", "http"):
        for description in getattr(settings.listen, door):
            try:
                addresses = tcp_addresses(description)
            except ConfigError as error:
                yield f"listen.{door}: {error}"
                continue
            for interface, port in addresses:
                if port and (interface, port) in taken:
                    yield f"listen.{door}: {description!r} is at listen.{taken[interface, port]} too"
                    continue
                taken[interface, port] = door
                error_number = bind_error(interface, port)
                if error_number and not (error_number == errno.EADDRINUSE and is_served(settings)):
                    yield f"listen.{door}: {description!r} {_explain(error_number)}"


def _explain(error_number: int) -> str:
    if error_number == errno.EADDRINUSE:
        return "is in use by another program"
    if error_number == errno.EACCES:
        return "needs privileges: start as root with twistd's --uid, or grant CAP_NET_BIND_SERVICE"
    if error_number == errno.EADDRNOTAVAIL:
        return "is not an address of this machine"
    return f"cannot be bound: {os.strerror(error_number)}"


def _inspect_data_directory(settings: Settings) -> Iterator[str]:
    directory = settings.data_dir
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        yield f"data_dir: {existing} is not a directory"
        return
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        yield (
            f"data_dir: {directory} is not writable for this user"
            if existing == directory
            else f"data_dir: {directory} does not exist and cannot be made in {existing} by this user"
        )
    if existing == directory and stat.S_IMODE(directory.stat().st_mode) & 0o077:
        yield _Warning(f"data_dir: {directory} can be entered by other users: chmod 700 {directory}")
    volume = os.statvfs(existing)
    free, wanted = volume.f_bavail * volume.f_frsize, settings.limits.free_space.of(volume.f_blocks * volume.f_frsize)
    if free < wanted:
        have, need = free // 10**6, wanted // 10**6
        yield f"limits.free_space: {have} MB are free at {existing}; below {need} MB mail is refused"


def _inspect_keys(settings: Settings) -> Iterator[str]:
    try:
        if not settings.keys.file.exists() and not settings.store.is_made:
            return
        fingerprint = load_or_create(settings.keys.file, create=False).fingerprint
    except OSError as error:
        yield f"keys.file: {settings.keys.file} cannot be read: {error.strerror}"
        return
    except ConfigError as error:
        yield f"keys.file: {error}"
        return
    try:
        bound = bound_fingerprint(settings.store.sqlite_file) if settings.store.sqlite_file else None
    except ConfigError as error:
        yield str(error)
    else:
        if bound not in (None, fingerprint):
            yield f"keys.file: {settings.keys.file} is not the keys file of this store"


def _inspect_store(settings: Settings) -> Iterator[str]:
    try:
        file = database_path(settings.store.url)
    except ConfigError as error:
        yield str(error)
        return
    try:
        if file.exists():
            if not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
                yield f"store.url: {file} is not readable and writable for this user"
        elif file.parent != settings.data_dir and not os.access(file.parent, os.W_OK | os.X_OK, effective_ids=True):
            yield f"store.url: {file} cannot be made: {file.parent} is not a directory writable for this user"
    except OSError as error:
        yield f"store.url: {file} cannot be reached: {error.strerror}"


def _inspect_senders(settings: Settings) -> Iterator[str]:
    file = settings.store.sqlite_file
    if settings.sending.require_domain or file is None or not file.exists():
        return
    try:
        count = number_of_accounts(file)
    except ConfigError:
        return  # that is told elsewhere
    if count > 1:
        yield _Warning(
            f"sending.require_domain: there are {count} accounts, and each may send in the name of any domain; "
            "set it to true once they have domains (smtpeter domain add)"
        )


def _inspect_features(settings: Settings) -> Iterator[str]:
    """They are configured with keys that are nobody's: nothing that lasts is made with them."""
    try:
        findings = find_features(settings.features)
        yield from map(_Warning, findings.remarks)
        configure(findings, settings.features.tables, services_of(settings, KeyRing("check", {"check": bytes(32)})))
    except CatalogError as error:
        yield from error.problems


def _inspect_certificate(settings: Settings, clock: IClock) -> Iterator[str]:
    certificate, private_key = settings.tls.certificate, settings.tls.private_key
    if certificate is None or private_key is None:
        if not settings.demo:
            yield _Warning("tls.certificate: not set, so that the server makes its own, which no client knows")
            yield from _inspect_own_certificate(settings, clock)
        return
    try:
        ServerTls(certificate, private_key, time.monotonic)
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except ConfigError as error:
        yield str(error)
        return
    except (OSError, ValueError, IndexError):
        yield f"tls.certificate: {certificate} is not a certificate in PEM"
        return
    yield from _inspect_leaf(certificate, leaf, settings.hostname, datetime.fromtimestamp(clock.time(), UTC))


def _inspect_own_certificate(settings: Settings, clock: IClock) -> Iterator[str]:
    """A server that runs makes it anew in time, and a start does."""
    path = settings.data_dir / "tls" / "fullchain.pem"
    try:
        leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError, IndexError):
        return
    days = (leaf.not_valid_after_utc.timestamp() - clock.time()) / _DAY
    if days < _RENEW_DAYS:
        yield _Warning(f"tls: {path} ends in {days:.0f} days and was not made anew: does the server run?")


def _inspect_leaf(path: Path, leaf: x509.Certificate, hostname: str, now: datetime) -> Iterator[str]:
    days = (leaf.not_valid_after_utc - now).total_seconds() / _DAY
    if leaf.not_valid_before_utc > now:
        yield f"tls.certificate: {path} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
    elif days < 0:
        yield f"tls.certificate: {path} expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    elif days < _RENEW_DAYS:
        yield _Warning(f"tls.certificate: {path} expires in {days:.0f} days")
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    except x509.ExtensionNotFound:
        known = set()
    if hostname not in known and f"*.{hostname.partition('.')[2]}" not in known:
        yield _Warning(f"tls.certificate: {path} is not for the hostname {hostname}")


def _inspect_renewal(settings: Settings) -> Iterator[str]:
    """What root can read, the server may not be able to read again once it is somebody else."""
    certificate, private_key = settings.tls.certificate, settings.tls.private_key
    if certificate is not None and private_key is not None and os.geteuid() != os.getuid():
        try:
            read_pair(certificate, private_key)
        except ConfigError as error:
            yield _Warning(f"{error}, to whom data_dir belongs: only if root starts the server, and no renewed one")


def _inspect_names(settings: Settings) -> Iterator[str]:
    hostname = settings.hostname
    if "." not in hostname or hostname.endswith((".localdomain", ".local", ".localhost")):
        yield _Warning(f"hostname: {hostname} is not fully qualified; set it to the name that the world knows")
    if urlsplit(settings.web.public_url).hostname == urlsplit(settings.web.tracking_url).hostname:
        yield _Warning("web.tracking_url: has the host of web.public_url; a host of its own is advised")
