"""What scanners of TLS say about us; all of it: python -m tests.campaigns.tls_scan."""

from __future__ import annotations

import pytest

from tests.campaigns.tls_scan import EXPECTED, SHORT, run_sslyze, run_testssl
from tests.integration.tools import tool


@pytest.mark.parametrize("tls_first", [False, True], ids=["STARTTLS", "TLS"])
def test_sslyze_finds_nothing(gateway, tls_first, tmp_path):
    tool("sslyze")
    assert run_sslyze(gateway, tls_first=tls_first, directory=tmp_path) == []


def test_testssl_finds_nothing_but_what_a_private_authority_brings(gateway, tmp_path):
    tool("testssl")
    found = run_testssl(gateway, tls_first=True, directory=tmp_path, tests=SHORT)
    assert [each for each in found if each[0] not in EXPECTED] == []
