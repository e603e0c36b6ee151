"""What docs/clients.md tells people to do, done: each example as it stands there, with our names and ports."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.tools import node, perl, php, tool

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
MESSAGE = b"From: you@example.com\r\nSubject: Hello\r\n\r\nIt works.\r\n"
EXAMPLES = dict(re.findall(r"^```([a-z ]+)\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL))
PHPMAILER = "/usr/share/php/libphp-phpmailer/autoload.php"  # as Debian has it
COMMANDS = {
    "msmtp": lambda example: [tool("msmtp"), "--file=example", "somebody@example.net"],
    "curl": lambda example: tool("curl") and ["sh", "-c", example],
    "swaks": lambda example: tool("swaks") and ["sh", "-c", example],
    "python": lambda example: [sys.executable, "example"],
    "perl": lambda example: [perl("Net::SMTP", "IO::Socket::SSL", "Authen::SASL"), "example"],
    "javascript": lambda example: [node("nodemailer"), "example"],
    "php": lambda example: [php("openssl", library=PHPMAILER), "example"],
}
SETTINGS = {"python django", "ruby rails", "ini laravel"}  # of frameworks, which are too large to be here


def test_every_example_is_run():
    assert set(EXAMPLES) == set(COMMANDS) | SETTINGS


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_example_sends_a_message(gateway, kind, tmp_path):
    username, password = gateway.login
    example = EXAMPLES[kind]
    for documented, ours in (
        ("mail.example.com", "localhost"),
        ("587", str(gateway.smtp)),
        ("465", str(gateway.smtps)),
        ("USERNAME", username),
        ("PASSWORD", password.replace(" ", "")),
        ("vendor/autoload.php", PHPMAILER),
    ):
        example = example.replace(documented, ours)
    (tmp_path / "example").write_text(example, "utf-8")
    (tmp_path / "example").chmod(0o600)
    (tmp_path / "message.eml").write_bytes(MESSAGE)
    shutil.copy(gateway.directory / "data" / "tls" / "ca.pem", tmp_path / "smtpeter-ca.pem")
    before = len(gateway.json("message", "list"))
    result = subprocess.run(COMMANDS[kind](example), cwd=tmp_path, capture_output=True, timeout=60, input=MESSAGE)
    assert result.returncode == 0, result
    rows = gateway.json("message", "list")
    assert len(rows) == before + 1
    assert (rows[0]["envelope"], rows[0]["recipient"]) == ("you@example.com", "somebody@example.net")
    if kind != "swaks":  # which writes "This is a test mailing"
        assert b"It works." in gateway.raw(rows[0]["id"])


def test_the_readme_and_the_document_lead_to_each_other_s_files():
    assert "docs/clients.md" in DOCUMENT.parents[1].joinpath("README.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", DOCUMENT.read_text("utf-8")):
        assert (DOCUMENT.parent / target).exists(), target
