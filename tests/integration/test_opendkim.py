"""Signatures found good by opendkim, on real messages as they are and converted to 7 bits."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from plugins.dkim import Dkim
from smtpeter.auth.domain_keys import record_name, record_text
from smtpeter.mime.convert import convert
from tests.fakes.domains import ACCOUNT, make_domain, make_domains
from tests.integration.test_dkim import real_messages
from tests.integration.tools import tool

_RESULT = re.compile(r"dkim=(\w+)[^;]* header\.d=own\.example [^;]*header\.a=(rsa|ed25519)-sha256")


class Services:
    """The keys of own.example, for whoever asks."""

    def __init__(self) -> None:
        self._domains = make_domains("own.example")

    def signing_keys(self, account, domain):
        return self._domains.keys(account, domain)

    def has_signing_keys(self, account):
        return True


@pytest.fixture
def verify(tmp_path: Path):
    """What opendkim finds of both signatures of a message; None where it does not look at it, for lack of a field."""
    program = tool("opendkim")
    records = [f"{record_name('own.example', key.selector)} {record_text(key)}\n" for key in make_domain().keys]
    (tmp_path / "keys").write_text("".join(records))
    (tmp_path / "conf").write_text(f"Mode v\nTestPublicKeys {tmp_path}/keys\nSyslog no\n")

    def verify_one(octets: bytes) -> dict[str, str] | None:
        (tmp_path / "message.eml").write_bytes(octets)
        command = [program, "-x", tmp_path / "conf", "-t", tmp_path / "message.eml", "-vv"]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        if "mlfi_eoh() returned SMFIS_ACCEPT" in said:
            return None
        _, found, results = said.partition("hname='Authentication-Results'")
        assert found, said[-2000:]
        return {algorithm: result for result, algorithm in _RESULT.findall(results)}

    return verify_one


def signed(content: bytes) -> bytes:
    fields = Dkim(Services()).sign(content, ACCOUNT)  # type: ignore[arg-type]
    assert fields.count(b"DKIM-Signature:") == 2
    return fields + content


def test_both_signatures_are_good_and_a_change_breaks_them(verify) -> None:
    content = b"From: ann@own.example\r\nSubject: hello\r\n\r\nHello  there. \r\n\r\n"
    assert verify(signed(content)) == {"rsa": "pass", "ed25519": "pass"}
    assert verify(signed(content).replace(b"Hello", b"Hallo")) == {"rsa": "fail", "ed25519": "fail"}


@pytest.mark.parametrize("eight_bit", [True, False], ids=["as it is", "converted to 7 bits"])
def test_every_real_message_that_is_signed_verifies(verify, eight_bit: bool) -> None:
    named = [(name, signed(convert(content, eight_bit=eight_bit))) for name, content in real_messages()]
    assert len(named) > 20
    found = {name: verify(octets) for name, octets in named}
    seen = {name: each for name, each in found.items() if each is not None}
    assert len(seen) > 0.8 * len(found)
    assert not {name: each for name, each in seen.items() if each != {"rsa": "pass", "ed25519": "pass"}}
