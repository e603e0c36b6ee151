import shutil
import time

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface.verify import verifyObject

from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.tls import ServerTls
from smtpeter.errors import ConfigError

NOW = 1_795_000_000.0


class Seconds:
    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two good pairs of files."""
    return [ensure_certificate(tmp_path_factory.mktemp("tls") / name, "mail.example.com", NOW) for name in "ab"]


@pytest.fixture
def seconds():
    return Seconds()


@pytest.fixture
def files(made, tmp_path):
    certificate, key = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"
    install(made[0], certificate, key)
    return certificate, key


def install(source, certificate, key):
    """As certificate clients do: another file takes the name."""
    for origin, target in ((source.certificate, certificate), (source.private_key, key)):
        draft = target.with_suffix(".new")
        shutil.copy(origin, draft)
        draft.replace(target)


@pytest.fixture
def tls(files, seconds):
    return ServerTls(*files, seconds)


@pytest.fixture
def logged():
    events = []

    def observe(event):
        if event.get("log_namespace", "").startswith("smtpeter."):
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def client_context(version=None):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    return context


def shake_hands(server, context, session=None):
    """Connect a client to the server's side in memory; gives back the client after a first exchange."""
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if session is not None:
        client.set_session(session)
    server.set_accept_state()
    ends = ((client, server), (server, client))
    for _ in range(10):
        for this, other in ends:
            try:
                this.do_handshake()
            except SSL.WantReadError:
                pass
            carry(this, other)
    server.send(b"220 ready\r\n")
    carry(server, client)
    assert client.recv(100) == b"220 ready\r\n"
    return client


def carry(this, other):
    try:
        while True:
            other.bio_write(this.bio_read(65536))
    except SSL.WantReadError:
        pass


def serial_of(tls, context=None):
    return (
        shake_hands(tls.serverConnectionForTLS(None), context or client_context())
        .get_peer_certificate()
        .get_serial_number()
    )


def test_it_is_what_twisted_asks_for(tls):
    assert verifyObject(IOpenSSLServerConnectionCreator, tls)


@pytest.mark.parametrize(("version", "name"), [(SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")])
def test_modern_versions_with_the_whole_chain(made, files, seconds, version, name):
    with files[0].open("ab") as chain:
        chain.write(made[0].authority.read_bytes())
    client = shake_hands(ServerTls(*files, seconds).serverConnectionForTLS(None), client_context(version))
    assert client.get_protocol_version_name() == name
    assert len(client.get_peer_cert_chain()) == 2
    assert client.get_cipher_name().startswith(("ECDHE-", "TLS_"))


def groups_context(groups):
    context = client_context()
    if not SSL._lib.SSL_CTX_set1_curves_list(context._context, groups):
        SSL._lib.ERR_clear_error()
        pytest.skip(f"this OpenSSL does not know {groups}")
    return context


@pytest.mark.parametrize("group", [b"X25519MLKEM768", b"X25519", b"P-256", b"P-384"])
def test_key_exchange_in_groups_that_cost_the_server_little(tls, group):
    shake_hands(tls.serverConnectionForTLS(None), groups_context(group))


@pytest.mark.parametrize("group", [b"ffdhe2048", b"ffdhe3072", b"X448", b"P-521"])
def test_dheat_attack_key_exchange_in_costly_groups_is_refused(tls, group):
    with pytest.raises(SSL.Error):
        shake_hands(tls.serverConnectionForTLS(None), groups_context(group))


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_downgrade_to_old_versions_is_refused(tls, version):
    context = client_context(version)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    with pytest.raises(SSL.Error):
        shake_hands(tls.serverConnectionForTLS(None), context)


@pytest.mark.parametrize("ciphers", [b"AES128-GCM-SHA256", b"ECDHE-ECDSA-AES128-SHA", b"aNULL:@SECLEVEL=0"])
def test_weak_ciphers_are_refused(tls, ciphers):
    context = client_context(SSL.TLS1_2_VERSION)
    context.set_cipher_list(ciphers)
    with pytest.raises(SSL.Error):
        shake_hands(tls.serverConnectionForTLS(None), context)


def counting_context(version):
    """A client that counts the certificates it is shown; in a resumed session it is shown none."""
    shown = []
    context = client_context(version)
    context.set_verify(SSL.VERIFY_PEER, lambda connection, certificate, *rest: shown.append(certificate) or True)
    return context, shown


def session_of(client):
    """The session of a client that says good-bye: OpenSSL resumes no other."""
    client.shutdown()
    return client.get_session()


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_sessions_are_resumed_by_tickets(tls, version):
    context, shown = counting_context(version)
    session = session_of(shake_hands(tls.serverConnectionForTLS(None), context))
    assert shown
    shown.clear()
    shake_hands(tls.serverConnectionForTLS(None), context, session)
    assert not shown
    shake_hands(tls.serverConnectionForTLS(None), context)
    assert shown


def test_ticket_keys_live_for_a_day(tls, seconds):
    context, shown = counting_context(SSL.TLS1_3_VERSION)
    session = session_of(shake_hands(tls.serverConnectionForTLS(None), context))
    shown.clear()
    seconds.now += 86399
    shake_hands(tls.serverConnectionForTLS(None), context, session)
    assert not shown
    seconds.now += 2
    shake_hands(tls.serverConnectionForTLS(None), context, session)
    assert shown


def test_renegotiation_is_refused(tls):
    server = tls.serverConnectionForTLS(None)
    client = shake_hands(server, client_context(SSL.TLS1_2_VERSION))
    assert client.renegotiate()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        for _ in range(5):
            for this, other, act in ((client, server, client.do_handshake), (server, client, lambda: server.recv(1))):
                try:
                    act()
                except SSL.WantReadError:
                    pass
                carry(this, other)


class Shout(Protocol):
    def dataReceived(self, data):
        self.transport.write(data.upper())


def test_twisted_speaks_through_it(tls):
    """The way it is used: a protocol behind TLS over a transport of bytes."""
    clock = Clock()
    factory = TLSMemoryBIOFactory(tls, False, Factory.forProtocol(Shout), clock=clock)
    protocol, transport = factory.buildProtocol(None), StringTransport()
    protocol.makeConnection(transport)
    client = SSL.Connection(client_context(), None)
    client.set_connect_state()
    for _ in range(4):
        try:
            client.do_handshake()
        except SSL.WantReadError:
            pass
        try:
            protocol.dataReceived(client.bio_read(65536))
        except SSL.WantReadError:
            pass
        if transport.value():
            client.bio_write(transport.value())
            transport.clear()
    client.send(b"ehlo")
    protocol.dataReceived(client.bio_read(65536))
    clock.advance(0)  # Twisted gathers small writes for a turn
    client.bio_write(transport.value())
    assert client.recv(100) == b"EHLO"


# --- other certificates


def test_a_changed_certificate_is_served_within_a_second(tls, files, made, seconds, logged):
    old = serial_of(tls)
    install(made[1], *files)
    seconds.now += 0.9
    assert serial_of(tls) == old, "the files are not looked at for every connection"
    seconds.now += 0.2
    new = serial_of(tls)
    assert new != old
    assert [event["log_format"] for event in logged] == ["the certificate was read again: {path}"]
    seconds.now += 2
    assert serial_of(tls) == new and len(logged) == 1


def test_sessions_under_way_survive_a_change(tls, files, made, seconds):
    server = tls.serverConnectionForTLS(None)
    client = shake_hands(server, client_context())
    install(made[1], *files)
    seconds.now += 2
    serial_of(tls)
    client.send(b"quit")
    carry(client, server)
    assert server.recv(10) == b"quit"


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "other key", "world-readable"])
def test_the_old_certificate_stays_while_the_new_one_is_broken(tls, files, made, seconds, logged, damage):
    certificate, key = files
    old = serial_of(tls)
    install(made[1], *files)
    match damage:
        case "missing":
            key.unlink()
        case "empty":
            certificate.write_bytes(b"")
        case "half":
            key.write_bytes(key.read_bytes()[:100])
        case "other key":
            shutil.copy(made[0].private_key, key)
        case "world-readable":
            key.chmod(0o644)
    for _ in range(3):
        seconds.now += 2
        assert serial_of(tls) == old
    assert len(logged) == 1 and "the new one is broken" in logged[0]["log_format"], "told once"
    assert "PRIVATE" not in logged[0]["reason"]
    install(made[1], *files)
    seconds.now += 2
    assert serial_of(tls) != old


def test_one_file_replaced_before_the_other_is_no_fault(tls, files, made, seconds, logged):
    old = serial_of(tls)
    certificate, key = files
    shutil.copy(made[1].certificate, certificate)
    seconds.now += 2
    assert serial_of(tls) == old
    shutil.copy(made[1].private_key, key)
    seconds.now += 2
    assert serial_of(tls) != old
    assert [event["log_level"].name for event in logged] == ["info"]


def test_links_that_are_switched_as_certbot_does(made, tmp_path, seconds, logged):
    links = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"

    def switch(source):
        for link, target in zip(links, (source.certificate, source.private_key), strict=True):
            link.unlink(missing_ok=True)
            link.symlink_to(target)

    switch(made[0])
    tls = ServerTls(*links, seconds)
    old = serial_of(tls)
    switch(made[1])
    seconds.now += 2
    assert serial_of(tls) != old and len(logged) == 1


def test_a_change_of_mode_alone_is_seen(tls, files, made, seconds, logged):
    install(made[1], *files)
    files[1].chmod(0o644)
    old = serial_of(tls)
    for _ in range(3):
        seconds.now += 2
        assert serial_of(tls) == old
    time.sleep(0.02)  # file systems count time in ticks
    files[1].chmod(0o600)
    seconds.now += 2
    assert serial_of(tls) != old


def test_a_touch_is_no_change(tls, files, seconds, logged):
    context = tls._context
    files[0].touch()
    seconds.now += 2
    serial_of(tls)
    assert tls._context is context and not logged


def test_ticket_keys_are_changed_when_the_files_have_gone_too(tls, files, seconds, logged):
    context, old = tls._context, serial_of(tls)
    for file in files:
        file.unlink()
    for _ in range(3):
        seconds.now += 40_000
        assert serial_of(tls) == old
    assert tls._context is not context
    assert [event["log_level"].name for event in logged] == ["error"]


def test_privileges_that_are_gone_are_told_of_once(tls, files, seconds, logged, monkeypatch):
    def refuse(certificate, private_key):
        raise ConfigError(f"tls.certificate: {certificate} cannot be read by the user nobody")

    monkeypatch.setattr("smtpeter.auth.tls.read_pair", refuse)
    tls.warn_of_privileges()
    for _ in range(3):
        seconds.now += 2
        serial_of(tls)
    (event,) = logged
    assert "a renewed one will not be seen" in event["log_format"] and "nobody" in event["reason"]


def test_privileges_that_are_still_there_are_no_matter(tls, seconds, logged):
    tls.warn_of_privileges()
    assert not logged


# --- what stops the start


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o660, 0o641])
def test_private_key_that_everybody_can_read_stops_the_start(files, seconds, mode):
    files[1].chmod(mode)
    with pytest.raises(ConfigError, match=r"tls.private_key: .*privkey.pem can be reached by all users"):
        ServerTls(*files, seconds)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_group_may_read_the_private_key(files, seconds, mode):
    files[1].chmod(mode)
    assert serial_of(ServerTls(*files, seconds))


def test_files_that_cannot_be_used_are_told_in_one_line(files, made, seconds, tmp_path):
    certificate, key = files
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    junk.chmod(0o600)
    private = load_pem_private_key(key.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    encryption = BestAvailableEncryption(b"secret")
    locked.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    locked.chmod(0o600)
    for pair, words in (
        ((tmp_path / "none.pem", key), "none.pem cannot be read"),
        ((certificate, tmp_path / "none.pem"), "none.pem cannot be read"),
        ((junk, key), "junk.pem is not a certificate in PEM"),
        ((certificate, junk), "junk.pem is not a private key in PEM"),
        ((certificate, locked), "locked.pem is not a private key in PEM without a password"),
        ((certificate, made[1].private_key), "does not belong to"),
    ):
        with pytest.raises(ConfigError) as caught:
            ServerTls(*pair, seconds)
        assert words in str(caught.value) and "\n" not in str(caught.value)
