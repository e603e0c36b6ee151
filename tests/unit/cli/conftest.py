"""A gateway in a temporary directory, and a way to run commands on it."""

import hashlib
import json

import pytest
from click.testing import CliRunner

from smtpeter.cli.installation import Installation, result_of
from smtpeter.cli.main import smtpeter
from smtpeter.model.account import AccountState
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.ids import make_submission_id
from smtpeter.model.submission import Content, Submission
from tests.fakes.installed import only_these

EMAIL = "ann@example.com"
START = 1_700_000_000.0  # 2023-11-14 22:13:20


class Gateway:
    """What the tests of commands work on: a configuration file, its store, and mail in it."""

    def __init__(self, directory):
        self.data_dir = directory / "data"
        self.config = directory / "smtpeter.toml"
        self.configure()
        self._runner = CliRunner()

    def configure(self, more=""):
        self.config.write_text(
            f'hostname = "mail.example.com"\ndata_dir = "{self.data_dir}"\n[delivery]\nmode = "capture"\n{more}'
        )
        self.config.chmod(0o640)

    def run(self, *arguments, stdin=None):
        return self._runner.invoke(smtpeter, ["--config", str(self.config), *arguments], input=stdin)

    def json(self, *arguments):
        result = self.run(*arguments, "--json")
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return json.loads(result.stdout)

    def refused(self, *arguments, code=1):
        result = self.run(*arguments)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        if code == 1:
            assert result.stderr.startswith("smtpeter: ")
            assert result.stderr.count("\n") == 1
        return result.stderr

    def open(self):
        return Installation(self.config, None).open()

    def add_account(self, email=EMAIL, *, admin=False, state=AccountState.APPROVED):
        with self.open() as store:
            return result_of(store.accounts.add_account(email, "Ann", admin, state, "no hash"))

    def enqueue(self, *recipients, account=None, number=0, data=b"Subject: Hi\r\n\r\nHi\r\n", time=START, **other):
        id = make_submission_id(int(time * 1000), number.to_bytes(10, "big"))
        known = tuple(Recipient(each, each.rpartition("@")[2]) for each in recipients)
        content = Content(len(data), hashlib.sha256(data).digest(), data)
        envelope = Envelope("ann@example.com", known)
        submission = Submission(id, account, "", "smtp", envelope, content, time, time, time + 86400, **other)
        with self.open() as store:
            result_of(store.queue.enqueue(submission))
        return id


@pytest.fixture
def gateway(tmp_path):
    return Gateway(tmp_path)


@pytest.fixture
def modules(tmp_path):
    """Features of the test's own, and no others."""
    with only_these(tmp_path / "installed") as modules:
        yield modules
