"""The configuration: TOML read into frozen values whose names are the keys of the file.

Durations are float seconds, sizes are octets.  Whatever is wrong is found at once and told together, one line for each
key: :class:`SettingsError`.  Some tables hold secrets (the relay's and the database's password): the representations
of these values leave them out, and no error text shows them.
"""

# ruff: noqa: RUF009 (the calls in the tables below make dataclass fields)

from __future__ import annotations

import json
import re
import socket
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from smtpeter.errors import ConfigError
from smtpeter.locations import (
    Network,
    is_host_name,
    parse_address,
    parse_host_name,
    parse_network,
    parse_relay,
    parse_resolver,
    parse_web_url,
)
from smtpeter.model.route import TlsPolicy
from smtpeter.quantities import FreeSpace, parse_duration, parse_free_space, parse_size

DEFAULT_FILE = Path("/etc/smtpeter/smtpeter.toml")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class SettingsError(ConfigError):
    """What is wrong in a configuration file: ``problems`` has one line for each key concerned."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


# --- how a value of TOML is read ------------------------------------------------------------------------------------
# Each takes the value and gives back what the field holds, or raises ValueError with a text that follows the value.


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("is not a text")
    return value


def _path(value: object) -> Path:
    return Path(_text(value))


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise ValueError("is not a port (1 to 65535)")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
        raise ValueError("is not a whole number from 1 on")
    return value


def _count_or_none(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise ValueError("is not a whole number from 0 on")
    return value


def _positive_duration(value: object) -> float:
    seconds = parse_duration(value)
    if seconds == 0:
        raise ValueError("has to be longer than nothing")
    return seconds


def _positive_size(value: object) -> int:
    octets = parse_size(value)
    if octets == 0:
        raise ValueError("has to be more than nothing")
    return octets


def _relay(value: object) -> str:
    parse_relay(value)
    return str(value)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _tls_policy(value: object) -> TlsPolicy:
    return TlsPolicy(_one_of(*TlsPolicy)(value))


class SourceAddress(NamedTuple):
    """An address that mail goes out from, and the name that it says there in EHLO (empty: the server's own)."""

    address: str
    hostname: str = ""


def _source_address(value: object) -> SourceAddress:
    if not isinstance(value, dict):
        return SourceAddress(parse_address(value))
    if not set(value) <= {"address", "hostname"} or "address" not in value:
        raise ValueError('is not like { address = "192.0.2.1", hostname = "mail1.example.com" }')
    hostname = parse_host_name(value["hostname"]) if "hostname" in value else ""
    return SourceAddress(parse_address(value["address"]), hostname)


def _by_domain(read: Callable[[object], Any]) -> Callable[[object], Mapping[str, Any]]:
    def read_table(value: object) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("is not a table of domains")
        table = {}
        for domain, item in value.items():
            try:
                parse_host_name(domain.removeprefix("*."))
                table[domain.lower()] = read(item)
            except ValueError as error:
                raise ValueError(f"has {_shown(domain)}, which {error}") from None
        return MappingProxyType(table)

    return read_table


def _store_url(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(("sqlite:///", "postgresql://")):
        raise ValueError('has to begin with "postgresql://", or be "sqlite://" and an absolute path')
    return value


def _one_of(*names: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in names:
            raise ValueError("is none of " + ", ".join(f'"{name}"' for name in names))
        return str(value)

    return read


def _list_of(read: Callable[[object], Any], *, empty: bool = True) -> Callable[[object], tuple[Any, ...]]:
    def read_list(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"is not a list (try [{_shown(value)}])" if isinstance(value, str) else "is not a list")
        if not value and not empty:
            raise ValueError("has to name at least one")
        items = []
        for item in value:
            try:
                items.append(read(item))
            except ValueError as error:
                raise ValueError(f"holds {_shown(item)}, which {error}") from None
        return tuple(items)

    return read_list


# --- the tables -----------------------------------------------------------------------------------------------------


def _key(read: Callable[[object], Any], default: Any, *, secret: bool = False) -> Any:
    return field(default_factory=lambda: default, repr=not secret, metadata={"read": read, "secret": secret})


def _table(kind: type[Any]) -> Any:
    return field(default_factory=kind, metadata={"table": kind})


@dataclass(frozen=True)
class Listen:
    """Where each door is: Twisted's endpoint descriptions."""

    smtp: tuple[str, ...] = _key(_list_of(_text), ("tcp:587", "tcp:2525"))
    mx: tuple[str, ...] = _key(_list_of(_text), ("tcp:25",))
    smtps: tuple[str, ...] = _key(_list_of(_text), ("tcp:465",))
    https: tuple[str, ...] = _key(_list_of(_text), ("tcp:443",))
    http: tuple[str, ...] = _key(_list_of(_text), ("tcp:80",))


@dataclass(frozen=True)
class Tls:
    """Our certificate, both or neither; without one we make our own."""

    certificate: Path | None = _key(_path, None)
    private_key: Path | None = _key(_path, None)


@dataclass(frozen=True)
class Keys:
    """The file with the keys behind hashes, links and return addresses."""

    file: Path = _key(_path, Path("keys.toml"))


@dataclass(frozen=True)
class Web:
    """How the world reaches our web pages, and whom we believe or answer there.  URLs end without a slash."""

    public_url: str = _key(parse_web_url, "")
    tracking_url: str = _key(parse_web_url, "")
    trusted_proxies: tuple[Network, ...] = _key(_list_of(parse_network), ())
    metrics_allow: tuple[Network, ...] = _key(
        _list_of(parse_network), (parse_network("127.0.0.0/8"), parse_network("::1"))
    )


@dataclass(frozen=True)
class StoreSettings:
    """Which store: ``sqlite://`` and an absolute path, or ``postgresql://...``."""

    url: str = _key(_store_url, "", secret=True)

    @property
    def sqlite_file(self) -> Path | None:
        """The database file, None where the store is not SQLite."""
        return Path(self.url.removeprefix("sqlite://")) if self.url.startswith("sqlite://") else None

    @property
    def is_made(self) -> bool:
        """Whether the database file is there already; never so where the store is not SQLite."""
        return self.sqlite_file is not None and self.sqlite_file.exists()


@dataclass(frozen=True)
class Delivery:
    """How mail leaves.

    ``retry`` are the waits (seconds) after the first, second, ... attempt; the last repeats.  ``relays`` and
    ``tls_domains`` are by recipient domain; ``*.example.com`` is every domain below.  ``delay_notice`` is how long
    (seconds) a message may wait before its sender is told, if he asked to be.
    """

    mode: str = _key(_one_of("direct", "relay", "capture"), "direct")
    relay: str = _key(_relay, "", secret=True)
    port: int = _key(_port, 25)
    resolver: str = _key(parse_resolver, "system")
    addresses: tuple[SourceAddress, ...] = _key(_list_of(_source_address), ())
    allow_networks: tuple[Network, ...] = _key(_list_of(parse_network), ())
    retry: tuple[float, ...] = _key(_list_of(_positive_duration, empty=False), (60.0, 300.0, 900.0, 1800.0, 3600.0))
    expire: float = _key(_positive_duration, 86400.0)
    in_doubt: str = _key(_one_of("retry", "hold"), "retry")
    delay_notice: float = _key(_positive_duration, 4 * 3600.0)
    connections: int = _key(_count, 500)
    shaping: Path | None = _key(_path, None)
    tls: TlsPolicy = _key(_tls_policy, TlsPolicy.MAY)
    tls_domains: Mapping[str, TlsPolicy] = _key(_by_domain(_tls_policy), MappingProxyType({}))
    relays: Mapping[str, str] = _key(_by_domain(_relay), MappingProxyType({}), secret=True)


@dataclass(frozen=True)
class Sending:
    """Who may send as whom.  ``require_domain``: the From field's domain has to be the account's."""

    require_domain: bool = _key(_truth, False)


@dataclass(frozen=True)
class Bounces:
    """The domain of signed return addresses."""

    domain: str = _key(parse_host_name, "")


@dataclass(frozen=True)
class Retention:
    """How long (seconds) what is finished is kept: its content, its events, and captured mail."""

    content: float = _key(parse_duration, 30 * 86400.0)
    events: float = _key(parse_duration, 365 * 86400.0)
    captured: float = _key(parse_duration, 7 * 86400.0)


@dataclass(frozen=True)
class Limits:
    """What a client may use.  Timeouts and ages in seconds, sizes in octets, ``data_rate`` in octets a second,
    ``token_requests`` in requests a second of the REST API (0: any number)."""

    message_size: int = _key(_positive_size, 50_000_000)
    recipients: int = _key(_count, 1000)
    connections: int = _key(_count, 10_000)
    connections_per_address: int = _key(_count, 50)
    command_timeout: float = _key(_positive_duration, 300.0)
    handshake_timeout: float = _key(_positive_duration, 10.0)
    data_rate: int = _key(parse_size, 500)
    errors: int = _key(_count, 20)
    auth_failures: int = _key(_count, 3)
    junk_commands: int = _key(_count, 100)
    command_line: int = _key(_positive_size, 2048)
    received_fields: int = _key(_count, 50)
    header_size: int = _key(_positive_size, 256 * 1024)
    mime_depth: int = _key(_count, 32)
    mime_parts: int = _key(_count, 1000)
    free_space: FreeSpace = _key(parse_free_space, FreeSpace(fraction=0.05))
    unprepared_age: float = _key(_positive_duration, 600.0)
    token_requests: int = _key(_count_or_none, 0)


@dataclass(frozen=True)
class Log:
    """How the log is written: ``text`` or ``json``."""

    format: str = _key(_one_of("text", "json"), "text")


@dataclass(frozen=True)
class Features:
    """Which features run.  ``tables`` are their own tables by name, as TOML gives them; each feature reads its own.
    ``workers`` is the number of processes that prepare messages, 0: as many as there are processors."""

    disabled: tuple[str, ...] = _key(_list_of(_text), ())
    paths: tuple[Path, ...] = _key(_list_of(_path), ())
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    workers: int = _key(_count_or_none, 0)


@dataclass(frozen=True)
class Settings:
    """The whole configuration, complete: no value is left for somebody else to guess.

    ``demo`` is not a key of the file: it tells that :func:`demo_settings` made this.
    """

    hostname: str = _key(parse_host_name, "")
    data_dir: Path = _key(_path, Path("/var/lib/smtpeter"))
    listen: Listen = _table(Listen)
    tls: Tls = _table(Tls)
    keys: Keys = _table(Keys)
    web: Web = _table(Web)
    store: StoreSettings = _table(StoreSettings)
    delivery: Delivery = _table(Delivery)
    sending: Sending = _table(Sending)
    bounces: Bounces = _table(Bounces)
    retention: Retention = _table(Retention)
    limits: Limits = _table(Limits)
    log: Log = _table(Log)
    features: Features = _table(Features)
    demo: bool = False

    @staticmethod
    def default() -> Settings:
        """What an empty configuration file means."""
        return _complete(Settings(), DEFAULT_FILE.parent)


# --- from a file to the tables --------------------------------------------------------------------------------------


def load(path: Path = DEFAULT_FILE) -> Settings:
    """Read a configuration file.  Relative paths in it start where it lies.

    :raises ConfigError: where it cannot be read or is no TOML (one line).
    :raises SettingsError: where keys are unknown or values wrong (one line for each).
    """
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file {path}; make it, name another one with --config FILE, or try --demo"
        ) from None
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}".replace("\n", " ")) from None
    return read_settings(document, path.absolute().parent)


def read_settings(document: Mapping[str, Any], directory: Path) -> Settings:
    """Make settings of a parsed document; ``directory`` is where its relative paths start.

    :raises SettingsError: where keys are unknown or values wrong.
    """
    problems: list[str] = []
    settings: Settings = _read_table(Settings, document, "", problems)
    if settings.delivery.mode == "relay" and not settings.delivery.relay and not problems:
        problems.append('delivery.relay: has to be set, because delivery.mode is "relay"')
    if (settings.tls.certificate is None) != (settings.tls.private_key is None):
        missing = "certificate" if settings.tls.certificate is None else "private_key"
        problems.append(f"tls.{missing}: has to be set too; certificate and private_key belong together")
    if problems:
        raise SettingsError(problems)
    return _complete(settings, directory)


def _read_table(kind: type[Any], table: Mapping[str, Any], prefix: str, problems: list[str]) -> Any:
    """One table of the document as its dataclass; what is wrong is added to ``problems`` and the default taken."""
    known = {each.name: each for each in fields(kind) if each.metadata}
    values: dict[str, Any] = {}
    feature_tables: dict[str, Mapping[str, Any]] = {}
    for name, value in table.items():
        where = prefix + (name if _BARE_KEY.fullmatch(name) else json.dumps(name))
        if name not in known:
            if kind is Features and isinstance(value, dict):
                feature_tables[name] = MappingProxyType(value)
            else:
                problems.append(f"{where}: unknown {_kind_of(value)}{_suggestion(name, prefix, known)}")
        elif "table" in known[name].metadata:
            if isinstance(value, dict):
                values[name] = _read_table(known[name].metadata["table"], value, f"{name}.", problems)
            else:
                problems.append(f"{where}: {_shown(value)} is not a table (try [{name}])")
        else:
            metadata = known[name].metadata
            try:
                values[name] = metadata["read"](value)
            except ValueError as error:
                problems.append(f"{where}: {'' if metadata['secret'] else _shown(value) + ' '}{error}")
    if kind is Features:
        values["tables"] = MappingProxyType(feature_tables)
    return kind(**values)


def _kind_of(value: object) -> str:
    return "table" if isinstance(value, dict) else "key"


def _suggestion(name: str, prefix: str, known: Mapping[str, Any]) -> str:
    """What may have been meant: a similar name here, or the same name in another table."""
    near = get_close_matches(name, known, n=1)
    if near:
        return f' (did you mean "{prefix}{near[0]}"?)'
    elsewhere = {
        key.name: f"{table.name}.{key.name}"
        for table in fields(Settings)
        for key in fields(table.metadata.get("table", Settings))
        if "read" in key.metadata and "table" in table.metadata
    } | {key.name: key.name for key in fields(Settings) if key.metadata}
    near = get_close_matches(name, elsewhere, n=1)
    if near:
        return f' (did you mean "{elsewhere[near[0]]}"?)'
    return f" (known {'here' if prefix else 'at the top'}: {', '.join(known)})"


def _shown(value: object) -> str:
    """A value as an error text repeats it: one line, not too long."""
    if isinstance(value, (dict, list)):
        return "the table" if isinstance(value, dict) else "the list"
    if isinstance(value, (str, bool)):
        shown = json.dumps(value)
        return shown if len(shown) <= 80 else f'{shown[:76]}..."'
    return str(value)


def _complete(settings: Settings, directory: Path) -> Settings:
    """Fill in what depends on something else: names on the host name, files on directories."""
    hostname = settings.hostname or machine_name()
    data_dir = directory / settings.data_dir
    public_url = settings.web.public_url or f"https://{hostname}"
    tls = settings.tls
    return replace(
        settings,
        hostname=hostname,
        data_dir=data_dir,
        tls=Tls(tls.certificate and directory / tls.certificate, tls.private_key and directory / tls.private_key),
        keys=Keys(data_dir / settings.keys.file),
        delivery=replace(
            settings.delivery, shaping=settings.delivery.shaping and directory / settings.delivery.shaping
        ),
        web=replace(settings.web, public_url=public_url, tracking_url=settings.web.tracking_url or public_url),
        store=StoreSettings(settings.store.url or f"sqlite://{data_dir / 'smtpeter.db'}"),
        bounces=Bounces(settings.bounces.domain or hostname),
        features=replace(settings.features, paths=tuple(directory / path for path in settings.features.paths)),
    )


def machine_name() -> str:
    """This machine's name, fit for EHLO; ``localhost.localdomain`` where the system knows no usable one."""
    for name in (socket.getfqdn(), socket.gethostname()):
        name = name.rstrip(".").lower()
        if is_host_name(name) and not name.endswith(".arpa"):
            return name
    return "localhost.localdomain"


# --- the demonstration ----------------------------------------------------------------------------------------------


class DemoPorts(NamedTuple):
    """The ports of the demonstration; the first two speak SMTP with STARTTLS."""

    smtp: int = 2525
    submission: int = 5870
    smtps: int = 4650
    http: int = 8080
    https: int = 8443


def demo_settings(directory: Path, ports: DemoPorts = DemoPorts()) -> Settings:  # noqa: B008 (it cannot change)
    """Everything on 127.0.0.1 with its state in ``directory``, and mail captured instead of sent."""

    def at(*numbers: int) -> tuple[str, ...]:
        return tuple(f"tcp:{number}:interface=127.0.0.1" for number in numbers)

    settings = Settings(
        hostname="localhost",
        data_dir=directory.absolute(),
        listen=Listen(at(ports.smtp, ports.submission), (), at(ports.smtps), at(ports.https), at(ports.http)),
        web=Web(public_url=f"http://127.0.0.1:{ports.http}"),
        delivery=Delivery(mode="capture"),
        demo=True,
    )
    return _complete(settings, directory.absolute())
