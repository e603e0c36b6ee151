"""Which addresses are this machine's."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from smtpeter.delivery.machine import is_own_address, usable_families


@pytest.mark.parametrize(
    ("address", "own"), [("127.0.0.1", True), ("192.0.2.77", False), ("2001:db8::77", False), ("224.0.0.1", False),
                         ("255.255.255.255", False), ("ff02::1", False)],
)  # fmt: skip
def test_an_address_is_ours_where_the_system_says_so(address, own):
    assert is_own_address(ip_address(address)) is own


def test_families_are_those_of_the_source_addresses():
    assert usable_families(["192.0.2.1"]) == {4}
    assert usable_families(["2001:db8::1"]) == {6}
    assert usable_families(["192.0.2.1", "2001:db8::1"]) == {4, 6}
    assert usable_families([]) and usable_families([]) <= {4, 6}
