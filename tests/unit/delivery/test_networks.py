"""Addresses that mail is not sent to."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.delivery.networks import Networks, Verdict

FIT, PROHIBITED, OURS = Verdict.FIT, Verdict.PROHIBITED, Verdict.OURS


def networks(*allowed, own=(), listening=()):
    own = {ip_address(address) for address in own}
    return Networks([ip_network(each) for each in allowed], own.__contains__, lambda: listening)


def in_ipv6(address):
    """All the ways to write an IPv4 address as one of IPv6."""
    number = int(ip_address(address))
    return [
        str(ip_address(each))
        for each in (
            0xFFFF << 32 | number,  # mapped
            number,  # compatible
            0xFFFF << 48 | number,  # translated
            0x64FF9B << 96 | number,  # NAT64
            0x64FF9B0001 << 80 | number,  # NAT64 of one's own
            0x2002 << 112 | number << 80 | 1,  # 6to4
            0x20010000 << 96 | number << 64 | 0x1234,  # Teredo, the server
            0x20010000 << 96 | 0x08080808 << 64 | (~number & 0xFFFFFFFF),  # Teredo, the client
            0x2A00145040000000 << 64 | 0x5EFE << 32 | number,  # ISATAP
            0x2A00145040000000 << 64 | 0x02005EFE << 32 | number,
        )
    ]


LOCAL = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.19.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255",
]  # fmt: skip
LOCAL_6 = [
    "::", "::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2001::1",
    "100::1", "2001:2::1", "2001:10::1", "3fff::1", "4000::1", "5f00::1", "64:ff9b:1::1", "::2", "fe80::1%eth0",
    "2a00::1%1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "223.255.255.255",
]
PUBLIC_6 = ["2a00:1450:4013::1a", "2001:4860:4860::8888", "2607:f8b0::1b", "2001:200::1", "2003::1", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", LOCAL + LOCAL_6)
def test_attack_mail_to_addresses_that_are_not_public(address):
    assert networks().judge(address, 25) is PROHIBITED


@pytest.mark.parametrize("address", [each for address in LOCAL for each in in_ipv6(address)])
def test_attack_the_same_in_ipv6(address):
    assert networks().judge(address, 25) is PROHIBITED


@pytest.mark.parametrize("address", PUBLIC + PUBLIC_6)
def test_mail_goes_to_public_addresses(address):
    assert networks().judge(address, 25) is FIT


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "127.0.0.1:25", " 8.8.8.8"])
def test_what_is_no_address_is_not_fit(text):
    assert networks().judge(text, 25) is PROHIBITED


def test_networks_can_be_allowed():
    ours = networks("127.0.0.0/8", "::1/128", "10.1.0.0/16")
    for address in ("127.0.0.1", "::1", "10.1.2.3", "::ffff:127.0.0.1", "8.8.8.8"):
        assert ours.judge(address, 2525) is FIT
    for address in ("10.2.0.1", "::2", "0.0.0.0", "2002:a02:1::1"):
        assert ours.judge(address, 2525) is PROHIBITED


def test_addresses_of_this_machine_are_ours_unless_they_are_allowed():
    own = ("8.8.4.4", "2a00::1", "10.0.0.5", "127.0.0.1", "0.0.0.0")
    ours = networks(own=own)
    for address in ("8.8.4.4", "2a00::1", "10.0.0.5", "::ffff:8.8.4.4", "64:ff9b::808:404"):
        assert ours.judge(address, 25) is OURS
    # These are everybody's: they say nothing of who the receiver should be.
    assert ours.judge("127.0.0.1", 25) is ours.judge("0.0.0.0", 25) is PROHIBITED
    assert networks("8.8.4.4/32", own=own).judge("8.8.4.4", 25) is FIT


@pytest.mark.parametrize(
    ("listening", "address", "verdict"),
    [
        (("127.0.0.1", 2525), "127.0.0.1", OURS),
        (("127.0.0.1", 2525), "::ffff:127.0.0.1", OURS),
        (("::ffff:127.0.0.1", 2525), "127.0.0.1", OURS),
        (("127.0.0.1", 2525), "0.0.0.0", OURS),
        (("::1", 2525), "::", OURS),
        (("127.0.0.1", 2525), "127.0.0.2", FIT),
        (("127.0.0.1", 25), "127.0.0.1", FIT),
        (("0.0.0.0", 2525), "127.0.0.9", OURS),
        (("", 2525), "127.0.0.9", OURS),
        (("::", 2525), "127.0.0.9", OURS),
        (("0.0.0.0", 2525), "10.0.0.5", OURS),
        (("0.0.0.0", 2525), "10.0.0.6", FIT),
        (("/run/socket", 2525), "127.0.0.1", FIT),
    ],
)
def test_attack_our_own_ports_are_ours_even_where_they_are_allowed(listening, address, verdict):
    ours = networks("0.0.0.0/0", "::/0", own=["10.0.0.5"], listening=[listening])
    assert ours.judge(address, 2525) is verdict


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_nothing_is_fit_that_python_does_not_call_global(address):
    if networks().judge(str(address), 25) is FIT:
        # Python counts these among others to the ones that are not.
        assert (
            address.is_global
            or address in ip_network("64:ff9b::/96")
            or address in ip_network("2002::/16")
            or (address.version == 6 and address.ipv4_mapped is not None)
        )


@given(st.ip_addresses(v=4).filter(lambda address: not address.is_global))
def test_attack_no_spelling_of_an_address_is_fit_that_is_not_itself(address):
    if networks().judge(str(address), 25) is not FIT:
        assert not [each for each in in_ipv6(str(address)) if networks().judge(each, 25) is FIT]
