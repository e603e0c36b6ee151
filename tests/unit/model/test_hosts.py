"""Hosts that are the same to a browser are the same to us: nobody gets around a block by another spelling."""

import pytest

from smtpeter.model.hosts import canonical_host


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("B\u00dcCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("\u2603.example", "xn--n3h.example"),
        ("example.com.", "example.com"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0177.0x0.0x.01", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("\uff11\uff12\uff17.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("1.2.3", "1.2.0.3"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("1.example", "1.example"),
        ("999.999.999.999", "999.999.999.999"),
        ("4294967296", "4294967296"),
        ("1.2.3.4.5", "1.2.3.4.5"),
        ("08.1", "08.1"),
        ("1..1", "1..1"),
        ("1_0.0.0.1", "1_0.0.0.1"),
        ("[nonsense", "nonsense"),
        ("", ""),
        (".", ""),
    ],
)
def test_one_spelling(host, canonical):
    assert canonical_host(host) == canonical


@pytest.mark.parametrize("dot", ["\u3002", "\uff0e", "\uff61", "%E3%80%82", "\u3002\u00ad", "%2e"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1"])
def test_attack_a_dot_at_the_end_that_is_none_of_ascii(host, dot):
    assert canonical_host(host + dot) == host


@pytest.mark.parametrize("label", ["aa--b", "_x", "-a", "a-", "\u2603", "xn--a", "\U0001f600"])
def test_attack_a_label_that_may_not_be_registered_changes_no_other(label):
    assert canonical_host(f"{label}.stra\u00dfe.example").endswith(".xn--strae-oqa.example")


def test_attack_an_ipv4_address_in_ipv6():
    assert canonical_host("[::ffff:7f00:1]") == canonical_host("[::FFFF:127.0.0.1]") == "127.0.0.1"


@pytest.mark.parametrize("host", ["x" * 100_000, "\u00fc" * 100_000, "1." * 50_000, "9" * 100_000, "[x" * 50_000])
def test_attack_long_names(host):
    assert canonical_host(host)
