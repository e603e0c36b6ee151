import pytest

from smtpeter.auth.keys import load_or_create
from smtpeter.auth.secrets import hash_login, hash_token, split_token
from smtpeter.cli.installation import Installation, result_of
from smtpeter.cli.main import smtpeter as program
from smtpeter.model.account import CredentialKind
from tests.unit.cli.conftest import EMAIL


def stored(gateway, kind, public):
    with gateway.open() as store:
        return result_of(store.accounts.credential(kind, public))


def keys(gateway):
    return load_or_create(gateway.data_dir / "keys.toml")


def test_a_login_is_shown_once_and_kept_as_a_hash(gateway):
    gateway.add_account()
    made = gateway.json("login", "add", "--account", EMAIL, "--name", "shop")
    assert set(made) == {"username", "password"}
    login = stored(gateway, CredentialKind.LOGIN, made["username"])
    assert login.secret_hash == hash_login(keys(gateway), login.key_id, made["username"], made["password"])
    assert (login.name, login.options, login.account.email) == ("shop", (), EMAIL)
    (listed,) = gateway.json("login", "list")
    assert {name: listed[name] for name in ("username", "account", "name", "features", "used", "revoked")} == {
        "username": made["username"], "account": EMAIL, "name": "shop", "features": [], "used": None, "revoked": None,
    }  # fmt: skip


def test_a_token_is_shown_once_and_kept_as_a_hash(gateway):
    gateway.add_account()
    made = gateway.json("token", "add", "--account", EMAIL)
    assert set(made) == {"token"}
    public, secret = split_token(made["token"])
    token = stored(gateway, CredentialKind.TOKEN, public)
    assert token.secret_hash == hash_token(keys(gateway), token.key_id, public, secret)
    (listed,) = gateway.json("token", "list", "--account", EMAIL)
    assert listed["token"] == public
    assert secret not in gateway.run("token", "list").output


@pytest.mark.parametrize("kind", ["login", "token"])
def test_there_is_no_such_account(gateway, kind):
    assert EMAIL in gateway.refused(kind, "add", "--account", EMAIL)
    assert EMAIL in gateway.refused(kind, "list", "--account", EMAIL)
    assert "--account" in gateway.refused(kind, "add", code=2)


@pytest.mark.parametrize("kind", ["login", "token"])
def test_a_feature_that_is_not_installed_is_refused_and_nothing_is_made(gateway, kind):
    gateway.add_account()
    refused = gateway.refused(kind, "add", "--account", EMAIL, "--enable", "trackclicks")
    assert refused == "smtpeter: feature trackclicks is not installed here\n"
    assert gateway.json(kind, "list") == []


def test_rotate_ends_the_old_password(gateway):
    gateway.add_account()
    old = gateway.json("login", "add", "--account", EMAIL)
    new = gateway.json("login", "rotate", old["username"].upper())
    assert new["username"] == old["username"]
    assert new["password"] != old["password"]
    login = stored(gateway, CredentialKind.LOGIN, new["username"])
    assert login.secret_hash == hash_login(keys(gateway), login.key_id, new["username"], new["password"])


def test_edit_changes_the_name(gateway):
    gateway.add_account()
    username = gateway.json("login", "add", "--account", EMAIL)["username"]
    assert gateway.json("login", "edit", username, "--name", "shop") == {"username": username}
    assert stored(gateway, CredentialKind.LOGIN, username).name == "shop"
    assert "not installed" in gateway.refused("login", "edit", username, "--enable", "inlinecss")
    assert "nothing to change" in gateway.refused("login", "edit", username, code=2)
    assert "there is no login nobody" in gateway.refused("login", "edit", "nobody", "--name", "x")


def test_edit_switches_installed_features_by_any_of_their_names(gateway, monkeypatch):
    gateway.add_account()
    username = gateway.json("login", "add", "--account", EMAIL)["username"]
    installed = frozenset({"trackclicks", "trackopens"})

    def edit(*arguments):
        program.commands["login"].main(
            ["edit", username, *arguments],
            obj=Installation(gateway.config, None, installed_features=installed),
            standalone_mode=False,
        )
        return gateway.json("login", "list")[0]["features"]

    assert edit("--enable", "ClickTracking", "--enable", "trackopens") == ["trackclicks", "trackopens"]
    assert edit("--disable", "openstracking") == ["trackclicks"]


def test_revoke_a_login(gateway):
    gateway.add_account()
    username = gateway.json("login", "add", "--account", EMAIL)["username"]
    assert gateway.json("login", "revoke", username) == {"username": username, "revoked": True}
    assert stored(gateway, CredentialKind.LOGIN, username) is None
    assert gateway.json("login", "list")[0]["revoked"] is not None
    assert username in gateway.refused("login", "revoke", username)
    assert username in gateway.refused("login", "rotate", username)


@pytest.mark.parametrize("form", ["{public}", "smtpeter_{public}", "{token}"])
def test_revoke_a_token_by_each_of_its_names(gateway, form):
    gateway.add_account()
    token = gateway.json("token", "add", "--account", EMAIL)["token"]
    public, secret = split_token(token)
    result = gateway.run("token", "revoke", form.format(public=public, token=token))
    assert result.exit_code == 0
    assert secret not in result.output
    assert stored(gateway, CredentialKind.TOKEN, public) is None


def test_attack_a_token_with_a_slip_in_it_is_not_repeated(gateway):
    gateway.add_account()
    token = gateway.json("token", "add", "--account", EMAIL)["token"]
    for slip in (token + "x", token.replace("smtpeter_", "smtpeter_x")):
        assert token.split("_")[2] not in gateway.run("token", "revoke", slip).output
