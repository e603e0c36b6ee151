"""Smuggling through a real server to a real next hop; ``tests.campaigns.smuggling_real`` has all of it."""

from __future__ import annotations

from tests.campaigns.smuggling_real import PORTS, run


def test_no_short_string_smuggles_a_message_through_any_port(tmp_path):
    # All strings of up to four octets, each on one of the ports.
    figures = run(tmp_path, range(0, 340 * len(PORTS), len(PORTS) + 1))
    assert figures["accepted"] == figures["arrived"] > 0
