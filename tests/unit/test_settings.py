import re
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from smtpeter import settings as settings_module
from smtpeter.errors import ConfigError
from smtpeter.settings import DemoPorts, Settings, SettingsError, demo_settings, load, machine_name

SHIPPED = Path(__file__).parents[2] / "etc" / "smtpeter.toml"
_COMMENTED_KEY = re.compile(r"^# (?=[a-z_]+ = )", re.MULTILINE)


@pytest.fixture
def read(tmp_path):
    def read(text):
        file = tmp_path / "smtpeter.toml"
        file.write_text(text)
        return load(file)

    return read


@pytest.fixture
def problems(read):
    def problems(text):
        with pytest.raises(SettingsError) as caught:
            read(text)
        assert str(caught.value) == "\n".join(caught.value.problems)
        return list(caught.value.problems)

    return problems


def keys_of(kind, prefix=""):
    for each in fields(kind):
        if "table" in each.metadata:
            yield from keys_of(each.metadata["table"], f"{each.name}.")
        elif each.metadata:
            yield prefix + each.name


def keys_in(text):
    table = ""
    for line in text.splitlines():
        if header := re.match(r"\[([a-z.]+)\]", line):
            table = header[1] + "."
        elif key := re.match(r"([a-z_]+) = ", line):
            yield table + key[1]


# --- the shipped file


def test_shipped_file_says_the_defaults():
    assert load(SHIPPED) == Settings.default()


def test_shipped_file_names_every_key_once_in_order():
    assert sorted(keys_in(_COMMENTED_KEY.sub("", SHIPPED.read_text()))) == sorted(keys_of(Settings))


def test_shipped_file_is_valid_with_all_examples_switched_on(read):
    text = _COMMENTED_KEY.sub("", SHIPPED.read_text())
    settings = read(text)
    assert settings.hostname == "mail.example.com"
    assert settings.store.url == "sqlite:///var/lib/smtpeter/smtpeter.db" == Settings.default().store.url
    assert settings.limits == Settings.default().limits


# --- defaults and what follows from what


def test_empty_file_is_complete(read, monkeypatch, tmp_path):
    monkeypatch.setattr(settings_module, "machine_name", lambda: "box.example.org")
    settings = read("")
    assert settings.hostname == settings.bounces.domain == "box.example.org"
    assert settings.web.public_url == settings.web.tracking_url == "https://box.example.org"
    assert settings.keys.file == Path("/var/lib/smtpeter/keys.toml")
    assert settings.store.url == "sqlite:///var/lib/smtpeter/smtpeter.db"
    assert settings.store.sqlite_file == Path("/var/lib/smtpeter/smtpeter.db")
    assert settings.tls.certificate is None and settings.tls.private_key is None
    assert settings.delivery.retry == (60, 300, 900, 1800, 3600)
    assert settings.delivery.expire == settings.delivery.retry[-1] * 24
    assert settings.limits.message_size == 50_000_000
    assert settings.limits.header_size == 262_144
    assert settings.limits.free_space.of(1000) == 50
    assert settings.web.metrics_allow == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert settings.demo is False


def test_paths_start_at_the_file_and_keys_at_data_dir(read, tmp_path):
    settings = read(
        'data_dir = "state"\n[tls]\ncertificate = "tls/c.pem"\nprivate_key = "/k.pem"\n'
        '[keys]\nfile = "k.toml"\n[features]\npaths = ["more"]'
    )
    assert settings.data_dir == tmp_path / "state"
    assert settings.tls.certificate == tmp_path / "tls/c.pem"
    assert settings.tls.private_key == Path("/k.pem")
    assert settings.keys.file == tmp_path / "state/k.toml"
    assert settings.store.sqlite_file == tmp_path / "state/smtpeter.db"
    assert settings.features.paths == (tmp_path / "more",)


def test_values_of_every_kind(read):
    settings = read(
        'hostname = "Mail.Example.COM"\n'
        '[web]\npublic_url = "https://m.example.com:8443/"\ntrusted_proxies = ["10.0.0.1", "fd00::/8"]\n'
        '[store]\nurl = "postgresql://u:p@db/mail"\n'
        '[delivery]\nmode = "relay"\nrelay = "smtps://u:p%2Fw@relay.example:4650"\nresolver = "127.0.0.1:5353"\n'
        'addresses = ["192.0.2.7"]\nretry = ["90s", "1h30m", 5]\nin_doubt = "hold"\n'
        '[limits]\nfree_space = "2GiB"\nmessage_size = "1.5MB"\ncommand_timeout = "500ms"\n'
        '[features]\ndisabled = ["trackopens"]\n[features.inlinecss]\nengine = "fast"\n[features.acme]\n'
    )
    assert settings.hostname == "mail.example.com"
    assert settings.web.tracking_url == "https://m.example.com:8443"
    assert settings.web.trusted_proxies == (ip_network("10.0.0.1/32"), ip_network("fd00::/8"))
    assert settings.store.sqlite_file is None
    assert settings.delivery.retry == (90, 5400, 5)
    assert settings.limits.free_space.of(10**12) == 2 * 2**30
    assert settings.limits.message_size == 1_500_000
    assert settings.limits.command_timeout == 0.5
    assert settings.features.disabled == ("trackopens",)
    assert {name: dict(table) for name, table in settings.features.tables.items()} == {
        "inlinecss": {"engine": "fast"},
        "acme": {},
    }


@pytest.mark.parametrize(
    ("fqdn", "short", "expected"),
    [
        ("Mail.Example.com", "mail", "mail.example.com"),
        ("mail.example.com.", "mail", "mail.example.com"),
        ("1.0.0.127.in-addr.arpa", "box", "box"),
        ("my_box", "my_box", "localhost.localdomain"),
        ("", "", "localhost.localdomain"),
    ],
)
def test_machine_name_is_fit_for_ehlo(monkeypatch, fqdn, short, expected):
    monkeypatch.setattr(settings_module.socket, "getfqdn", lambda: fqdn)
    monkeypatch.setattr(settings_module.socket, "gethostname", lambda: short)
    assert machine_name() == expected


# --- what is refused


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[limits]\nmesage_size = 1", 'limits.mesage_size: unknown key (did you mean "limits.message_size"?)'),
        ("[limit]\n", 'limit: unknown table (did you mean "limits"?)'),
        ("mesage_size = 1", 'mesage_size: unknown key (did you mean "limits.message_size"?)'),
        ('[log]\nhostname = "a"', 'log.hostname: unknown key (did you mean "hostname"?)'),
        ("[log]\nxyzzy = 1", "log.xyzzy: unknown key (known here: format)"),
        ("demo = true", "demo: unknown key (known at the top: "),
        ("[features]\npath = []", 'features.path: unknown key (did you mean "features.paths"?)'),
        ("[features]\ntables = []", "features.tables: unknown key ("),
        ('"a\\nb" = 1', '"a\\nb": unknown key ('),
        ("limits = 5", "limits: 5 is not a table (try [limits])"),
        ("hostname = 5", "hostname: 5 is not a host name"),
        ('hostname = "mail_1.example.com"', 'hostname: "mail_1.example.com" is not a host name'),
        ('hostname = "10.0.0.1"', 'hostname: "10.0.0.1" is not a host name'),
        ('hostname = "a\\r\\nb"', 'hostname: "a\\r\\nb" is not a host name'),
        ('[limits]\nmessage_size = "50 MBytes"', 'limits.message_size: "50 MBytes" is not a size (try "50MB")'),
        ("[limits]\nmessage_size = 0", "limits.message_size: 0 has to be more than nothing"),
        ("[limits]\nmessage_size = true", 'limits.message_size: true is not a size (try "50MB")'),
        ("[limits]\nmessage_size = -1", "limits.message_size: -1 is not a size"),
        ("[limits]\nrecipients = 0", "limits.recipients: 0 is not a whole number from 1 on"),
        ("[limits]\nrecipients = true", "limits.recipients: true is not a whole number from 1 on"),
        ('[limits]\nfree_space = "100%"', 'limits.free_space: "100%" is neither a share nor a size'),
        ("[limits]\nfree_space = 5.0", "limits.free_space: 5.0 is neither a share nor a size"),
        ('[delivery]\nexpire = "1 day"', 'delivery.expire: "1 day" is not a duration'),
        ("[delivery]\nexpire = -5", "delivery.expire: -5 is not a duration"),
        ("[delivery]\nexpire = nan", "delivery.expire: nan is not a duration"),
        ("[delivery]\nexpire = 0", "delivery.expire: 0 has to be longer than nothing"),
        ("[delivery]\nretry = []", "delivery.retry: the list has to name at least one"),
        ('[delivery]\nretry = ["1m", "x"]', 'delivery.retry: the list holds "x", which is not a duration'),
        ('[delivery]\nmode = "smtp"', 'delivery.mode: "smtp" is none of "direct", "relay", "capture"'),
        ('[delivery]\nmode = "relay"', 'delivery.relay: has to be set, because delivery.mode is "relay"'),
        ("[delivery]\nport = 65536", "delivery.port: 65536 is not a port"),
        ('[delivery]\nresolver = "dns.example"', 'delivery.resolver: "dns.example" is not a resolver'),
        ('[delivery]\nresolver = "127.0.0.1:99999"', "delivery.resolver: "),
        ('[delivery]\nallow_networks = ["10.0.0.1/8"]', 'delivery.allow_networks: the list holds "10.0.0.1/8", which '),
        ('[listen]\nsmtp = "tcp:25"', 'listen.smtp: "tcp:25" is not a list (try ["tcp:25"])'),
        ('[listen]\nsmtp = [""]', 'listen.smtp: the list holds "", which is not a text'),
        ('[web]\npublic_url = "https://a/b"', 'web.public_url: "https://a/b" is not the URL of a web server'),
        ('[web]\npublic_url = "ftp://a"', 'web.public_url: "ftp://a" is not the URL of a web server'),
        ('[store]\nurl = "sqlite://var/x.db"', 'store.url: has to begin with "postgresql://"'),
        ('[tls]\ncertificate = "a"', "tls.private_key: has to be set too"),
        ('[tls]\nprivate_key = "a"', "tls.certificate: has to be set too"),
    ],
)
def test_refused_in_one_line_that_names_the_key(problems, text, problem):
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(problem)
    assert found[0].isprintable()


def test_all_problems_are_told_at_once(problems):
    found = problems('hostnam = "a"\n[limits]\nrecipients = "many"\n[log]\nformat = "xml"\n')
    assert [line.partition(":")[0] for line in found] == ["hostnam", "limits.recipients", "log.format"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[limits\n", "line 1"), (b"a = 1\na = 2\n", "line 2"), (b'hostname = "\xff"', "utf-8")],
)
def test_what_is_no_toml_is_refused_with_file_and_line(tmp_path, content, words):
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(file) in str(caught.value) and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_told_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no configuration file .*/none\.toml"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


# --- secrets


def test_representations_hide_secrets(read):
    settings = read(
        '[store]\nurl = "postgresql://u:hunter2@db/mail"\n'
        '[delivery]\nmode = "relay"\nrelay = "smtp://u:hunter2@relay"\n[features.acme]\napi_key = "hunter2"'
    )
    assert "hunter2" in settings.delivery.relay
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    ["smpt://u:hunter2@h", "smtp://u:hunter2/@h", "smtp://u:hunter2@h:99999", "smtp://u:hunter2@h/path", "hunter2"],
)
def test_error_texts_hide_secrets(problems, url):
    (problem,) = problems(f'[delivery]\nmode = "relay"\nrelay = "{url}"')
    assert problem.startswith("delivery.relay: ")
    assert "hunter2" not in problem
    (problem,) = problems(f'[store]\nurl = "{url}"')
    assert "hunter2" not in problem


# --- the demonstration


def test_demo_listens_on_loopback_only_and_sends_nothing(tmp_path):
    settings = demo_settings(tmp_path, DemoPorts(http=8081))
    doors = settings.listen
    everything = (*doors.smtp, *doors.mx, *doors.smtps, *doors.http, *doors.https)
    assert everything == tuple(f"tcp:{port}:interface=127.0.0.1" for port in (2525, 5870, 4650, 8081, 8443))
    assert settings.delivery.mode == "capture"
    assert settings.data_dir == tmp_path
    assert settings.keys.file == tmp_path / "keys.toml"
    assert settings.store.sqlite_file == tmp_path / "smtpeter.db"
    assert settings.web.tracking_url == "http://127.0.0.1:8081"
    assert settings.demo is True
