"""A feature of somebody else's, in a distribution of its own: once it is installed beside smtpeter, it is there.

Its code is the one that docs/writing-a-feature.md explains.
"""

from __future__ import annotations

import email
import email.policy
import os
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.integration.gateway import Gateway, send, wait_for
from tests.integration.test_packaging import CHECKOUT, NOT_COPIED, copy_tree, make_environment, pip

ACME = CHECKOUT / "tests" / "plugins" / "acme"
TWISTD = "#!{python}\nimport sys\nfrom twisted.scripts.twistd import run\nsys.argv[0] = 'twistd'\nrun()\n"
CONTENT = b"From: a@example.com\r\nSubject: hello\r\n\r\nDear reader,\r\n"
LINK = re.compile(r"How was it\? (http://\S+)/t/acme/(\S+)")


class Foreign(Gateway):
    """A gateway in an environment in which both are installed."""

    def __init__(self, root: Path, directory: Path, extra: str = "", environment: dict[str, str] | None = None) -> None:
        self.scripts = root / "bin"
        clean = {name: "" for name in os.environ if name.startswith("PYTHON")}
        super().__init__(directory, 'mode = "capture"', extra, {**clean, **(environment or {})})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("third-party")
    root = base / "venv"
    python = make_environment(root)
    pip(python, "install", str(copy_tree(base / "tree")))
    shutil.copytree(ACME, base / "acme", ignore=NOT_COPIED)
    pip(python, "install", str(base / "acme"))
    shutil.rmtree(base / "tree")
    shutil.rmtree(base / "acme")
    twistd = root / "bin" / "twistd"
    twistd.write_text(TWISTD.format(python=python))
    twistd.chmod(0o755)
    return root


@pytest.fixture
def gateway(root, tmp_path):
    gateway = Foreign(root, tmp_path / "gateway")
    with gateway.config.open("a") as config:
        config.write(f'[web]\ntracking_url = "http://127.0.0.1:{gateway.http}"\n')
        config.write('[features.acme]\nquestion = "How was it?"\n')
    yield gateway
    gateway.end()


def body_of(gateway, id):
    return email.message_from_bytes(gateway.raw(id), policy=email.policy.default).get_content().replace("\r\n", "\n")


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status, answer.read()


def test_it_is_listed_with_where_it_came_from(gateway, root):
    features = {each["name"]: each for each in gateway.json("features")}
    acme = features["acme"]
    assert acme["distribution"] == "smtpeter-acme"
    assert Path(acme["origin"]).is_relative_to(root)
    assert acme["options"][0]["name"] == "survey"
    assert acme["options"][0]["aliases"] == ["ask_readers"]
    assert acme["enabled"]
    assert features["trackclicks"]["distribution"] == "smtpeter"
    assert list(features).index("acme") < list(features).index("trackclicks")


def test_its_option_is_the_logins_and_the_messages(gateway):
    gateway.json("account", "add", "owner@example.com")
    enabled = gateway.json("login", "add", "--account", "owner@example.com", "--enable", "Ask-Readers")
    plain = gateway.json("login", "add", "--account", "owner@example.com")
    assert gateway.json("login", "list")[0]["features"] == ["survey"]
    gateway.start()

    def submit(login, header):
        with gateway.connect((login["username"], login["password"])) as client:
            id = send(client, "a@example.com", ["b@example.net"], header + CONTENT)
        wait_for(lambda: gateway.json("message", "list")[0]["state"] == "delivered", 60)
        return "How was it?" in body_of(gateway, id)

    assert submit(enabled, b"")
    assert not submit(enabled, b"X-SMTPeter-Survey: no\r\n")
    assert not submit(plain, b"")
    assert submit(plain, b"X-SMTPeter-Ask_Readers: yes\r\n")


def test_it_works_on_messages_and_serves_what_is_behind_its_links(gateway):
    login = gateway.add_login()
    gateway.start()
    with gateway.connect(login) as client:
        id = send(client, "a@example.com", ["b@example.net", "c@example.net"], b"X-SMTPeter-Survey: on\r\n" + CONTENT)
    wait_for(lambda: [each["state"] for each in gateway.json("message", "list")] == ["delivered"] * 2, 60)
    links = []
    for number in (1, 2):
        body = body_of(gateway, f"{id}-{number}")
        assert body.startswith("Dear reader,\n\nHow was it? http://127.0.0.1:")
        links.append(LINK.search(body))
    assert links[0][2] != links[1][2]
    for host, tail in (link.groups() for link in links):
        assert get(f"{host}/t/acme/{tail}") == (200, b"Thank you!\n")
        for forged in ("x" + tail[1:], tail + "x", tail[:-1], ""):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(f"{host}/t/acme/{forged}")
            assert refused.value.code == 404

    def clicks():
        shown = gateway.json("message", "show", f"{id}-2")
        return [event for event in shown["events"] if event["event"] == "click"]

    assert len(wait_for(clicks, 30)) == 1


# --- where features are looked for ---


def test_attack_features_in_the_current_directory_are_not_run(root, tmp_path):
    """Neither by the server nor by commands, even where Python looks for modules there."""
    planted = tmp_path / "smtpeter" / "plugins"
    planted.mkdir(parents=True)
    (planted / "evil.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w').close()\n")
    gateway = Foreign(root, tmp_path / "gateway", environment={"PYTHONPATH": "."})
    gateway.cwd = tmp_path
    try:
        gateway.start()
        assert "acme" in [each["name"] for each in gateway.json("features")]
        gateway.stop()
    finally:
        gateway.end()
    assert not (tmp_path / "was-run").exists()
    # What was planted would have been run, if it were not in the current directory.
    gateway.cwd = Path("/")
    gateway.environment["PYTHONPATH"] = str(tmp_path)
    gateway.json("features")
    assert (tmp_path / "was-run").exists()


def test_an_environment_below_the_current_directory_is_searched(root, tmp_path):
    gateway = Foreign(root, tmp_path / "gateway")
    for gateway.cwd in (root.parent, root):
        assert "acme" in [each["name"] for each in gateway.json("features")]


def test_a_directory_of_the_configuration_is_searched(root, tmp_path):
    more = tmp_path / "more"
    more.mkdir(mode=0o755)
    source = (ACME / "smtpeter" / "plugins" / "acme.py").read_text()
    (more / "other.py").write_text(source.replace('"acme"', '"other"').replace("survey", "other").replace("ask_r", "r"))
    (more / "other.py").chmod(0o644)
    gateway = Foreign(root, tmp_path / "gateway", f'[features]\npaths = ["{more}"]')
    other = next(each for each in gateway.json("features") if each["name"] == "other")
    assert (other["origin"], other["distribution"]) == (str(more / "other.py"), None)
    more.chmod(0o775)
    refused = gateway.run("features", check=False)
    assert refused.returncode == 1
    assert refused.stderr.decode() == (
        f"smtpeter: features.paths: {more} can be changed by group or others: chmod go-w {more}\n"
    )


# --- the manual ---


def test_the_manual_shows_the_code_that_is_tested_here():
    manual = (CHECKOUT / "docs" / "writing-a-feature.md").read_text("utf-8")
    shown = re.findall(r"```(?:python|toml)\n(.*?)```", manual, re.DOTALL)
    assert (ACME / "smtpeter" / "plugins" / "acme.py").read_text("utf-8") in shown
    assert (ACME / "pyproject.toml").read_text("utf-8") in shown
