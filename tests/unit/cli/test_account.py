import pytest

from smtpeter.auth.secrets import verify_password
from smtpeter.cli.installation import result_of
from tests.unit.cli.conftest import EMAIL


def stored(gateway, email=EMAIL):
    with gateway.open() as store:
        return result_of(store.accounts.account(email))


def test_add_works_before_the_first_start_and_gives_the_password_once(gateway):
    made = gateway.json("account", "add", EMAIL, "--name", "Ann")
    assert set(made) == {"email", "password"}
    assert made["email"] == EMAIL
    account = stored(gateway)
    assert verify_password(account.password_hash, made["password"])
    assert verify_password(account.password_hash, made["password"].replace(" ", ""))
    assert (account.name, account.admin, account.state) == ("Ann", False, "approved")
    assert gateway.data_dir.stat().st_mode & 0o777 == 0o700
    assert (gateway.data_dir / "keys.toml").stat().st_mode & 0o777 == 0o600


def test_add_for_people_shows_the_password(gateway):
    result = gateway.run("account", "add", EMAIL, "--admin", "--pending")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["email", EMAIL]
    assert verify_password(stored(gateway).password_hash, lines[1].removeprefix("password"))
    assert (stored(gateway).admin, stored(gateway).state) == (True, "pending")


def test_add_refuses_an_address_that_is_taken(gateway):
    gateway.add_account()
    assert "Ann@Example.com" in gateway.refused("account", "add", "Ann@Example.com", "--json")


@pytest.mark.parametrize(
    "email", ["", "ann", "ann@", "@example.com", "a b@example.com", "<a@b.c>", "a@b.c>x", "postmaster"]
)
def test_add_wants_an_address(gateway, email):
    assert "is not an e-mail address" in gateway.refused("account", "add", email, code=2)


def test_list(gateway):
    gateway.add_account("b@example.com", admin=True)
    gateway.add_account("a@example.com")
    accounts = gateway.json("account", "list")
    assert [(each["email"], each["name"], each["admin"], each["state"]) for each in accounts] == [
        ("a@example.com", "Ann", False, "approved"),
        ("b@example.com", "Ann", True, "approved"),
    ]
    assert len(accounts[0]["created"]) == len("2026-01-01 00:00:00")
    lines = gateway.run("account", "list").stdout.splitlines()
    assert lines[0].split() == ["EMAIL", "STATE", "ADMIN", "CREATED", "NAME"]
    assert lines[2].split()[:3] == ["b@example.com", "approved", "yes"]


def test_passwd_generates_another_password(gateway):
    gateway.add_account()
    made = gateway.json("account", "passwd", EMAIL)
    assert made["email"] == EMAIL
    assert verify_password(stored(gateway).password_hash, made["password"])


def test_passwd_takes_a_password_from_standard_input_and_does_not_repeat_it(gateway):
    gateway.add_account()
    result = gateway.run("account", "passwd", EMAIL, "--stdin", stdin="correct horse\nmore\n")
    assert result.exit_code == 0
    assert "horse" not in result.output
    assert verify_password(stored(gateway).password_hash, "correct horse")


def test_passwd_refuses_an_empty_password(gateway):
    gateway.add_account()
    result = gateway.run("account", "passwd", EMAIL, "--stdin", stdin="\n")
    assert result.exit_code == 1
    assert stored(gateway).password_hash == "no hash"


def test_suspend_and_approve(gateway):
    gateway.add_account()
    assert gateway.json("account", "suspend", EMAIL) == {"email": EMAIL, "state": "suspended"}
    assert stored(gateway).state == "suspended"
    assert gateway.json("account", "approve", EMAIL) == {"email": EMAIL, "state": "approved"}
    assert stored(gateway).state == "approved"


@pytest.mark.parametrize("verb", ["passwd", "approve", "suspend"])
def test_there_is_no_such_account(gateway, verb):
    assert EMAIL in gateway.refused("account", verb, EMAIL)
