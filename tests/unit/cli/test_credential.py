import pytest

from smtpeter.auth.keys import load_or_create
from smtpeter.auth.secrets import hash_login, hash_token, split_token
from smtpeter.cli.installation import result_of
from smtpeter.model.account import CredentialKind, Scope
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


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        ((), ["send", "read"]),
        (("read",), ["read"]),
        (("manage", "send", "read", "send"), ["send", "read", "manage"]),
    ],
)
def test_a_token_is_for_what_is_said(gateway, given, scopes):
    gateway.add_account()
    made = gateway.json("token", "add", "--account", EMAIL, *(word for scope in given for word in ("--scope", scope)))
    public, _ = split_token(made["token"])
    assert stored(gateway, CredentialKind.TOKEN, public).scopes == tuple(map(Scope, scopes))
    (listed,) = gateway.json("token", "list")
    assert listed["scopes"] == scopes
    heading, row = gateway.run("token", "list").output.splitlines()
    assert "SCOPES" in heading and " ".join(scopes) in row


def test_a_scope_that_there_is_not_is_wrong_usage(gateway):
    gateway.add_account()
    assert "'send', 'read', 'manage'" in gateway.refused("token", "add", "--account", EMAIL, "--scope", "all", code=2)


def test_the_help_says_what_each_scope_is_for(gateway):
    text = " ".join(gateway.run("token", "add", "--help").output.split())
    for scope in Scope:
        assert f"{scope}: to " in text


def test_a_login_has_no_scopes(gateway):
    gateway.add_account()
    gateway.json("login", "add", "--account", EMAIL)
    assert "SCOPES" not in gateway.run("login", "list").output
    assert "scopes" not in gateway.json("login", "list")[0]


@pytest.mark.parametrize("kind", ["login", "token"])
def test_there_is_no_such_account(gateway, kind):
    assert EMAIL in gateway.refused(kind, "add", "--account", EMAIL)
    assert EMAIL in gateway.refused(kind, "list", "--account", EMAIL)
    assert "--account" in gateway.refused(kind, "add", code=2)


def with_options(modules):
    """Two switches, one with another name, and a text."""
    modules.write("trackclicks", ('"what it does")', '"x", aliases=("clicktracking",))'))
    modules.write("trackopens")
    modules.write("footer", ('Option("NAME", "what it does")', 'Option("footer_text", "x", OptionKind.TEXT)'))


@pytest.mark.parametrize("kind", ["login", "token"])
def test_features_are_switched_on_by_any_of_their_names(gateway, modules, kind):
    with_options(modules)
    gateway.add_account()
    enable = ("--enable", "ClickTracking", "--enable", "footer-text=a = b", "--enable", "trackopens=no")
    gateway.json(kind, "add", "--account", EMAIL, *enable)
    (listed,) = gateway.json(kind, "list")
    assert listed["features"] == ["trackclicks", "footer_text=a = b"]
    public = listed["username" if kind == "login" else "token"]
    assert stored(gateway, CredentialKind(kind), public).options == (
        ("trackclicks", "true"),
        ("footer_text", "a = b"),
        ("trackopens", "false"),
    )


@pytest.mark.parametrize("kind", ["login", "token"])
@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("inlinecss", "there is no feature 'inlinecss' here (there are: footer_text, trackclicks, trackopens)"),
        ("", "there is no feature '' here (there are: footer_text, trackclicks, trackopens)"),
        ("footer_text", "footer_text is given as footer_text=VALUE"),
        ("trackopens=perhaps", "trackopens: write true or false"),
        ("footer_text=a\nb", "footer_text: write one line of at most 1000 characters"),
        ("tags", "tags is given as tags=VALUE"),
        ("tags=a b", "tags: separate tags by commas; a tag has no white space and no semicolon"),
        ("images=hosted", "images: only default is possible here"),
        ("MaxDeliverTime", "maxdelivertime: a point in time cannot be a default: give it with each message"),
        ("idempotency-key=k", "idempotency_key: a key cannot be a default: give it with each message"),
    ],
)
def test_what_cannot_be_switched_on_is_refused_and_nothing_is_made(gateway, modules, kind, entry, told):
    with_options(modules)
    gateway.add_account()
    assert gateway.refused(kind, "add", "--account", EMAIL, "--enable", entry) == f"smtpeter: {told}\n"
    assert gateway.json(kind, "list") == []


@pytest.mark.parametrize("kind", ["login", "token"])
def test_tags_can_be_those_of_all_its_mail(gateway, modules, kind):
    gateway.add_account()
    gateway.json(kind, "add", "--account", EMAIL, "--enable", "Tags=shop, news", "--enable", "images=default")
    (listed,) = gateway.json(kind, "list")
    assert listed["features"] == ["tags=shop,news", "images=default"]
    public = listed["username" if kind == "login" else "token"]
    assert stored(gateway, CredentialKind(kind), public).options == (("tags", "shop,news"), ("images", "default"))


def test_tags_are_changed_and_taken_away(gateway, modules):
    gateway.add_account()
    username = gateway.json("login", "add", "--account", EMAIL, "--enable", "tags=shop")["username"]
    for arguments, features in (
        (["--disable", "images"], ["tags=shop"]),
        (["--enable", "tags=a,b"], ["tags=a,b"]),
        (["--enable", "tags=true"], ["tags=true"]),
        (["--enable", "tags=false"], ["tags=false"]),
        (["--disable", "TAGS"], []),
    ):
        gateway.json("login", "edit", username, *arguments)
        assert gateway.json("login", "list")[0]["features"] == features


def test_no_feature_is_installed(gateway, modules):
    gateway.add_account()
    refused = gateway.refused("login", "add", "--account", EMAIL, "--enable", "trackclicks")
    assert refused == "smtpeter: there is no feature 'trackclicks' here\n"


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
    assert "nothing to change" in gateway.refused("login", "edit", username, code=2)
    assert "there is no login nobody" in gateway.refused("login", "edit", "nobody", "--name", "x")


def test_edit_switches_features_on_and_off(gateway, modules):
    with_options(modules)
    gateway.add_account()
    username = gateway.json("login", "add", "--account", EMAIL)["username"]

    def edit(*arguments):
        gateway.json("login", "edit", username, *arguments)
        return gateway.json("login", "list")[0]["features"]

    assert edit("--enable", "ClickTracking", "--enable", "trackopens") == ["trackclicks", "trackopens"]
    assert edit("--disable", "CLICKTRACKING", "--enable", "footer_text=x") == ["trackopens", "footer_text=x"]
    assert edit("--disable", "footer-text", "--disable", "trackclicks") == ["trackopens"]
    assert "there is no feature 'inlinecss' here" in gateway.refused(
        "login", "edit", username, "--disable", "inlinecss"
    )


def test_whose_feature_is_disabled_is_told_so(gateway, modules):
    with_options(modules)
    gateway.add_account()
    name = gateway.json("features")[0]["name"]
    option = gateway.json("features")[0]["options"][0]["name"]
    gateway.configure(f'[features]\ndisabled = ["{name}"]\n')
    refused = gateway.refused("login", "add", "--account", EMAIL, "--enable", option)
    assert refused == f"smtpeter: the feature {option!r} is switched off for all, by [features] disabled\n"


def test_a_feature_that_was_uninstalled_can_be_switched_off(gateway, modules):
    file = modules.write("old")
    gateway.add_account()
    username = gateway.json("login", "add", "--account", EMAIL, "--enable", "old")["username"]
    file.unlink()
    gateway.json("login", "edit", username, "--disable", "old")
    assert gateway.json("login", "list")[0]["features"] == []


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
