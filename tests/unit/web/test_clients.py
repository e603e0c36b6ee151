import pytest

from smtpeter.locations import parse_network
from smtpeter.web.clients import client_of, is_within

PROXY = "10.0.0.1"
TRUSTED = (parse_network("10.0.0.0/8"), parse_network("fd00::/8"))


def forwarded(*values, proto=()):
    fields = [(b"x-forwarded-for", value) for value in values]
    return fields + [(b"x-forwarded-proto", value) for value in proto]


def client(fields, peer=PROXY, secure=False):
    return tuple(client_of(peer, secure, fields, TRUSTED))


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([], PROXY),
        ([b"192.0.2.7"], "192.0.2.7"),
        ([b" 192.0.2.7 "], "192.0.2.7"),
        ([b"192.0.2.7:5000"], "192.0.2.7"),
        ([b"2001:db8::7"], "2001:db8::7"),
        ([b"[2001:DB8::7]"], "2001:db8::7"),
        ([b"[2001:db8::7]:443"], "2001:db8::7"),
        ([b"::ffff:192.0.2.7"], "192.0.2.7"),
        ([b"192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ([b"192.0.2.7", b"10.0.0.2"], "192.0.2.7"),
        ([b"192.0.2.7, ::ffff:10.0.0.2"], "192.0.2.7"),
        ([b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ],
)
def test_the_client_behind_trusted_proxies(values, address):
    assert client(forwarded(*values)) == (address, False)


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([b"127.0.0.1, 192.0.2.7"], "192.0.2.7"),
        ([b"127.0.0.1", b"192.0.2.7"], "192.0.2.7"),
        ([b"10.0.0.9, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ([b"192.0.2.8, nonsense"], PROXY),
        ([b"192.0.2.8, nonsense, 10.0.0.2"], "10.0.0.2"),
        ([b"192.0.2.8,"], PROXY),
        ([b"192.0.2.8, [::1"], PROXY),
        ([b"192.0.2.8, 192.0.2.7.1"], PROXY),
        ([b"192.0.2.8, fe80::1%eth0"], PROXY),
        ([b"192.0.2.8, 192.0.2.7\xff"], PROXY),
    ],
)
def test_attack_a_client_writes_the_field_itself(values, address):
    assert client(forwarded(*values))[0] == address


def test_attack_whoever_is_not_trusted_is_not_believed():
    fields = forwarded(b"127.0.0.1", proto=[b"https"])
    assert client(fields, "192.0.2.66") == ("192.0.2.66", False)
    assert tuple(client_of("192.0.2.66", False, fields, ())) == ("192.0.2.66", False)
    assert client(fields, "") == ("", False)


def test_attack_a_chain_without_end_is_looked_at_for_a_while_only():
    assert client(forwarded(b", ".join([b"192.0.2.7"] + [b"10.0.0.2"] * 5000)))[0] == "10.0.0.2"


@pytest.mark.parametrize(
    ("proto", "before", "after"),
    [
        ([b"https"], False, True),
        ([b"HTTPS"], False, True),
        ([b"http"], True, False),
        ([b"https, http"], False, False),
        ([b"https", b"http"], True, False),
        ([b"gopher"], True, True),
        ([], True, True),
    ],
)
def test_the_nearest_proxy_tells_whether_the_client_spoke_tls(proto, before, after):
    assert client(forwarded(b"192.0.2.7", proto=proto), secure=before) == ("192.0.2.7", after)


def test_addresses_in_networks():
    assert is_within("::ffff:10.1.1.1", TRUSTED)
    assert is_within("fd00::1", TRUSTED)
    assert not is_within("192.0.2.1", TRUSTED)
    assert not is_within("", TRUSTED)
    assert not is_within("10.0.0.1", ())
