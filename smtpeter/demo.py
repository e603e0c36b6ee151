"""The demonstration: a gateway on this machine alone, with one account, one login and one token that stay the same."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from smtpeter.auth.keys import KeyRing, load_or_create
from smtpeter.auth.private_files import make_directory, read_private_file, write_file
from smtpeter.auth.secrets import hash_password, make_login, make_password, make_token, split_token
from smtpeter.clock import WallClock
from smtpeter.errors import ConfigError, NotPossible
from smtpeter.model.account import AccountState, CredentialKind, Scope
from smtpeter.settings import DemoPorts, Settings, demo_settings
from smtpeter.store.opening import Store, open_for_command, result_of

EMAIL = "demo@example.com"
_SECRETS = "demo.json"
_PORTS = "ports.json"
_PORT_TRIES = 100
_SECRET_NAMES = ("email", "account_password", "username", "password", "token")
_SCOPES = " ".join(Scope)
"""What the token is for: everything.  Kept with the secrets, to know whether the store has it so."""


class Demo(NamedTuple):
    """A demonstration's settings, and the secrets that each start prints again."""

    settings: Settings
    ports: DemoPorts
    email: str
    account_password: str
    username: str
    password: str
    token: str

    def __repr__(self) -> str:
        return f"Demo({self.settings.data_dir})"


def default_directory(environment: Mapping[str, str]) -> Path:
    """Where the demonstration keeps its state when nobody says otherwise (XDG base directories)."""
    state = Path(environment.get("XDG_STATE_HOME") or "")
    base = state if state.is_absolute() else Path(environment.get("HOME") or "~").expanduser() / ".local" / "state"
    return base / "smtpeter-demo"


def ensure_demo(directory: Path) -> Demo:
    """The demonstration in ``directory``, made where it is missing, with the ports of its last start.

    :raises ConfigError: where the directory cannot be used.
    """
    try:
        make_directory(directory)
        ports = _last_ports(directory)
        settings = demo_settings(directory, ports)
        return Demo(settings, ports, **_ensure_secrets(settings))
    except OSError as error:
        raise ConfigError(f"{directory} cannot hold the demonstration: {error}") from None


def prepare_demo(directory: Path) -> Demo:
    """The demonstration, about to start: on its usual ports, or the next free ones."""
    demo = ensure_demo(directory)
    taken: set[int] = set()
    ports = DemoPorts(*(_free_port(port, taken) for port in DemoPorts()))
    return demo._replace(settings=demo_settings(directory, ports), ports=ports)


def announce(demo: Demo) -> None:
    """Say, now that it runs, how to use it; and note the ports for the commands."""
    write_file(demo.settings.data_dir / _PORTS, json.dumps(demo.ports).encode("ascii"))
    # twistd turns sys.stdout into lines of the log, and this is not one.
    out = sys.__stdout__
    if out is not None:
        try:
            print(_introduction(demo, Path(sys.argv[0]).with_name("smtpeter")), file=out, flush=True)
        except OSError:
            pass  # nobody is reading; the demonstration runs all the same


def _last_ports(directory: Path) -> DemoPorts:
    """The ports of the last start; where its file is missing or damaged, the usual ones: only commands miss it."""
    try:
        ports = json.loads((directory / _PORTS).read_text("ascii"))
        if all(type(port) is int for port in ports):
            return DemoPorts(*ports)
    except (FileNotFoundError, ValueError, TypeError):
        pass
    return DemoPorts()


def _ensure_secrets(settings: Settings) -> dict[str, str]:
    path = settings.data_dir / _SECRETS
    secrets: dict[str, str] | None = None
    scopes = ""
    try:
        kept = json.loads(read_private_file(path))
        secrets = {name: kept[name] for name in _SECRET_NAMES}
        scopes = kept.get("scopes")
    except FileNotFoundError:
        pass
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{path} is damaged; remove {settings.data_dir} to begin anew") from None
    if secrets is not None and scopes == _SCOPES:
        return secrets
    keys = load_or_create(settings.keys.file, create=not settings.store.is_made)
    store = open_for_command(settings.store.url, settings.data_dir, WallClock())
    try:
        if secrets is None:
            secrets = _make_secrets(store, keys)
        else:  # made by a version whose tokens were for less
            _widen_token(store, secrets["token"])
    finally:
        result_of(store.close())
    write_file(path, json.dumps(secrets | {"scopes": _SCOPES}, indent=1).encode("ascii"))
    return secrets


def _make_secrets(store: Store, keys: KeyRing) -> dict[str, str]:
    accounts = store.accounts
    result_of(accounts.bind_keys(keys.fingerprint))
    account_password = make_password()
    password_hash = hash_password(account_password)
    if result_of(accounts.account(EMAIL)) is None:
        result_of(accounts.add_account(EMAIL, "Demonstration", True, AccountState.APPROVED, password_hash))
    else:  # a start that was broken off before its secrets were written
        result_of(accounts.set_password(EMAIL, password_hash))
    login, token = make_login(keys), make_token(keys)
    for kind, new in ((CredentialKind.LOGIN, login), (CredentialKind.TOKEN, token)):
        result_of(
            accounts.add_credential(kind, EMAIL, new.public, new.secret_hash, new.key_id, "demo", (), tuple(Scope))
        )
    return {
        "email": EMAIL,
        "account_password": account_password,
        "username": login.public,
        "password": login.shown,
        "token": token.shown,
    }


def _widen_token(store: Store, token: str) -> None:
    parts = split_token(token)
    if parts is not None:
        with suppress(NotPossible):  # it was revoked
            result_of(store.accounts.edit_credential(CredentialKind.TOKEN, parts[0], None, None, tuple(Scope)))


def _free_port(first: int, taken: set[int]) -> int:
    for port in range(first, first + _PORT_TRIES):
        if port in taken:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise ConfigError(f"no port is free on 127.0.0.1 from {first} to {first + _PORT_TRIES - 1}")


def _introduction(demo: Demo, command: Path) -> str:
    ports = demo.ports
    authority = demo.settings.data_dir / "tls" / "ca.pem"
    password = demo.password.replace(" ", "")
    smtpeter = f"{shlex.quote(str(command))} --demo"
    if demo.settings.data_dir != default_directory(os.environ):
        smtpeter += f"-dir {shlex.quote(str(demo.settings.data_dir))}"
    return f"""
smtpeter is ready. This is a demonstration: mail is captured, nothing leaves this machine.

  SMTP with STARTTLS     127.0.0.1:{ports.smtp}, 127.0.0.1:{ports.submission}
  SMTP with TLS          127.0.0.1:{ports.smtps}
  REST API               http://127.0.0.1:{ports.http}/v1  (also https://localhost:{ports.https}/v1)
  what it can            http://127.0.0.1:{ports.http}/docs  http://127.0.0.1:{ports.http}/openapi.json
  health and metrics     http://127.0.0.1:{ports.http}/healthz  http://127.0.0.1:{ports.http}/metrics
  certificate authority  {authority}

  login                  {demo.username}
  its password           {demo.password}
  token                  {demo.token}
  account                {demo.email}
  its password           {demo.account_password}

Send a message by the REST API (without TLS here, since nothing of it leaves this machine; elsewhere it is HTTPS only):

  curl http://127.0.0.1:{ports.http}/v1/send -H 'Authorization: Bearer {demo.token}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"recipient": "somebody@example.net", "from": "you@example.com", "subject": "Hello", "text": "It works."}}'

Or by SMTP:

  swaks --server 127.0.0.1:{ports.submission} --tls --auth PLAIN --auth-user {demo.username} \\
    --auth-password {password} --from you@example.com --to somebody@example.net

  printf 'Subject: Hello\\r\\n\\r\\nIt works.\\r\\n' | curl --ssl-reqd --cacert {shlex.quote(str(authority))} \\
    --user {demo.username}:{password} --mail-from you@example.com --mail-rcpt somebody@example.net \\
    --upload-file - smtp://localhost:{ports.submission}

A newsletter with its styles inlined, and its links and its opening tracked:

  printf '%s\\r\\n' 'From: you@example.com' 'Subject: News' 'MIME-Version: 1.0' 'Content-Type: text/html' \\
    'X-SMTPeter-InlineCSS: true' 'X-SMTPeter-TrackClicks: true' 'X-SMTPeter-TrackOpens: true' '' \\
    '<style>p {{ color: green }}</style><p>Hello, <a href="https://example.com/">read more</a></p>' | \\
    curl --ssl-reqd --cacert {shlex.quote(str(authority))} --user {demo.username}:{password} \\
    --mail-from you@example.com --mail-rcpt somebody@example.net --upload-file - smtp://localhost:{ports.submission}

See what was captured:

  {smtpeter} message list
  {smtpeter} message show ID
  {smtpeter} message raw ID

Ctrl-C ends it; its state stays in {demo.settings.data_dir}
"""
