import pytest
from twisted.cred.credentials import IAnonymous, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from zope.interface import Interface
from zope.interface.verify import verifyObject

from smtpeter.auth import access, secrets
from smtpeter.auth.access import TokenCredential, build_portal
from smtpeter.auth.attempts import Attempts
from smtpeter.auth.keys import KeyRing
from smtpeter.errors import Refusal, StorageUnavailable
from smtpeter.interfaces import ISubmitter, ITokenCredential
from smtpeter.model.account import AccountState, CredentialKind

PASSWORD = "sésame x"


def test_login_by_username(door, login, alice, result_of):
    submitter = result_of(door.password(login.public, login.shown))
    assert verifyObject(ISubmitter, submitter)
    assert submitter.account == alice
    assert submitter.login == login.public
    assert submitter.options == (("inlinecss", "true"),)
    assert result_of(door.password(login.public.upper(), login.shown.replace(" ", ""))).login == login.public


def test_login_by_token(door, token, alice, result_of):
    assert verifyObject(ITokenCredential, TokenCredential("x"))
    submitter = result_of(door.token(token.shown))
    assert (submitter.account, submitter.login) == (alice, token.public)
    assert submitter.options == (("trackopens", "true"),)


def test_login_by_the_account_s_own_password_has_no_options(door, login, alice, result_of):
    submitter = result_of(door.password("Alice@Example.COM", PASSWORD))
    assert (submitter.account, submitter.login, submitter.options) == (alice, "", ())


def test_whatever_is_wrong_is_told_alike(door, login, token, alice, result_of):
    other = secrets.make_login(KeyRing("2", {"2": bytes(32)}))
    texts = set()
    for attempt in (
        lambda: door.password(login.public, other.shown),
        lambda: door.password("nobody", login.shown),
        lambda: door.password(login.public, ""),
        lambda: door.password("", ""),
        lambda: door.password(login.public + "\0", login.shown),
        lambda: door.password(token.public, token.shown),
        lambda: door.password("alice@example.com", "wrong"),
        lambda: door.password("nobody@example.com", PASSWORD),
        lambda: door.password("alice@example.com", "a\x00b"),
        lambda: door.password("alice@example.com", login.shown),
        lambda: door.attempt(UsernamePassword(b"\xff", b"x")),
        lambda: door.attempt(UsernamePassword(login.public.encode(), b"\xff")),
        lambda: door.token(""),
        lambda: door.token(token.shown[:-1] + ("0" if token.shown[-1] != "0" else "1")),
        lambda: door.token(secrets.make_token(KeyRing("2", {"2": bytes(32)})).shown),
        lambda: door.token(f"smtpeter_{login.public}_{login.shown.replace(' ', '')}"),
    ):
        with pytest.raises(UnauthorizedLogin) as caught:
            result_of(attempt())
        texts.add(str(caught.value))
    assert texts == {""}


def test_suspended_accounts_and_revoked_credentials_may_not_log_in(door, store, login, token, alice, result_of):
    result_of(door.password(login.public, login.shown))
    store.put_account(alice._replace(state=AccountState.SUSPENDED))
    for attempt in (
        lambda: door.token(token.shown),
        lambda: door.password("alice@example.com", PASSWORD),
    ):
        with pytest.raises(UnauthorizedLogin):
            result_of(attempt())
    store.put_account(alice)
    del store.rows[CredentialKind.TOKEN, token.public]
    with pytest.raises(UnauthorizedLogin):
        result_of(door.token(token.shown))


def test_revoked_row_is_refused_even_where_a_store_returns_it(door, store, login, result_of):
    key = CredentialKind.LOGIN, login.public
    store.rows[key] = store.rows[key]._replace(revoked=1.0)
    with pytest.raises(UnauthorizedLogin):
        result_of(door.password(login.public, login.shown))


def test_revocation_holds_once_the_generation_changed(door, store, directory, login, result_of):
    result_of(door.password(login.public, login.shown))
    del store.rows[CredentialKind.LOGIN, login.public]
    directory.generation_changed()
    with pytest.raises(UnauthorizedLogin):
        result_of(door.password(login.public, login.shown))


def test_what_was_added_or_rotated_works_at_once(door, store, alice, keys, result_of):
    made = secrets.make_login(keys)
    with pytest.raises(UnauthorizedLogin):
        result_of(door.password(made.public, made.shown))
    store.put(CredentialKind.LOGIN, alice, made)
    result_of(door.password(made.public, made.shown))
    rotated = secrets.make_login(keys, made.public)
    key = CredentialKind.LOGIN, made.public
    store.rows[key] = store.rows[key]._replace(secret_hash=rotated.secret_hash)
    assert result_of(door.password(made.public, rotated.shown)).login == made.public


def test_secrets_made_with_an_older_key_still_verify(door, store, alice, result_of):
    made = secrets.make_login(KeyRing("1", {"1": bytes(32)}))
    assert made.key_id == "1"
    store.put(CredentialKind.LOGIN, alice, made)
    assert result_of(door.password(made.public, made.shown)).login == made.public


def test_a_lost_key_lets_nobody_in(door, store, alice, result_of):
    """Not even where the hash was copied under another key's id."""
    made = secrets.make_login(KeyRing("2", {"2": bytes(range(32))}))
    row = store.put(CredentialKind.LOGIN, alice, made)
    store.rows[row.kind, row.public] = row._replace(key_id="9")
    with pytest.raises(UnauthorizedLogin):
        result_of(door.password(made.public, made.shown))


# --- the same work for known and unknown names


def work_of(monkeypatch, store, door, attempt, result_of):
    counted = []
    plain = access.hash_login
    monkeypatch.setattr(access, "hash_login", lambda *arguments: counted.append(1) or plain(*arguments))
    asked, hashed = store.asked, door.hashed
    with pytest.raises(UnauthorizedLogin):
        result_of(attempt())
    monkeypatch.undo()
    return len(counted), store.asked - asked, door.hashed - hashed


def test_enumeration_of_usernames_by_time(monkeypatch, door, store, login, result_of):
    def work(name):
        return work_of(monkeypatch, store, door, lambda: door.password(name, "wrong"), result_of)

    unknown = work("nobody")
    assert work(login.public) == unknown
    result_of(door.password(login.public, login.shown))
    assert work(login.public) == unknown, "also where it is known without the store"
    assert unknown == (2, 1, 0)


def test_enumeration_of_people_by_time(monkeypatch, door, store, alice, result_of):
    def work(email):
        return work_of(monkeypatch, store, door, lambda: door.password(email, "wrong"), result_of)

    unknown = work("nobody@example.com")
    assert work("alice@example.com") == unknown
    result_of(door.password("alice@example.com", PASSWORD))
    assert work("alice@example.com") == unknown
    store.put_account(alice._replace(state=AccountState.SUSPENDED))
    assert work("alice@example.com") == unknown
    store.put_account(alice._replace(password_hash=""))
    assert work("alice@example.com") == unknown == (0, 1, 1)


# --- trouble and load


def test_storage_trouble_is_never_a_wrong_password(door, store, login, token, alice, result_of):
    store.broken = True
    for attempt in (
        lambda: door.password(login.public, login.shown),
        lambda: door.password("nobody", "x"),
        lambda: door.password("alice@example.com", PASSWORD),
        lambda: door.token(token.shown),
    ):
        with pytest.raises(StorageUnavailable):
            result_of(attempt())


def test_known_logins_come_in_without_the_store(door, store, login, result_of):
    result_of(door.password(login.public, login.shown))
    store.broken = True
    assert result_of(door.password(login.public, login.shown)).login == login.public


def test_right_passwords_are_remembered_for_a_while_and_never_kept(door, clock, alice, result_of):
    for _ in range(3):
        result_of(door.password("alice@example.com", PASSWORD))
    assert door.hashed == 1
    passwords = door.portal.checkers[access.IUsernamePassword]._passwords
    assert passwords._remembered and PASSWORD not in repr(passwords._remembered)
    clock.now += 301
    result_of(door.password("alice@example.com", PASSWORD))
    assert door.hashed == 2


def test_remembered_password_ends_with_a_change(door, store, directory, alice, result_of):
    result_of(door.password("alice@example.com", PASSWORD))
    store.put_account(alice._replace(password_hash=secrets.hash_password("new")))
    directory.generation_changed()
    with pytest.raises(UnauthorizedLogin):
        result_of(door.password("alice@example.com", PASSWORD))
    assert result_of(door.password("alice@example.com", "new")).login == ""


def test_a_flood_of_right_passwords_is_remembered_in_bounds(door, monkeypatch, alice, result_of):
    monkeypatch.setattr(access, "_REMEMBERED", 3)
    for spaces in range(6):
        result_of(door.password("alice@example.com", PASSWORD + " " * spaces))
    assert len(door.portal.checkers[access.IUsernamePassword]._passwords._remembered) == 3


def from_address(door, name, password, address):
    credentials = UsernamePassword(name.encode(), password.encode())
    credentials.address = address
    return door.attempt(credentials)


def test_argon2_runs_only_twice_at_once_and_a_flood_is_put_off(door, alice, result_of):
    door.hold = True
    attempts = [from_address(door, f"x{n}@example.com", "x", f"192.0.2.{n}") for n in range(2 + 64)]
    assert len(door.held) == 2
    with pytest.raises(Refusal, match=r"454 4\.7\.0 Too many passwords"):
        result_of(from_address(door, "alice@example.com", PASSWORD, "198.51.100.1"))
    answers = []
    for attempt in attempts:
        attempt.addErrback(lambda failure: answers.append(failure.check(UnauthorizedLogin)))
    for number in range(len(attempts)):
        door.held[number].callback(None)
    assert answers == [UnauthorizedLogin] * len(attempts)


def test_attack_a_flood_of_passwords_from_one_address_does_not_keep_owners_out(door, alice, result_of):
    door.hold = True
    attempts = [from_address(door, f"x{n}@example.com", "x", "192.0.2.66") for n in range(100)]
    owner = from_address(door, "alice@example.com", PASSWORD, "198.51.100.1")
    for attempt in attempts:
        attempt.addErrback(lambda failure: None)
    assert not owner.called
    for number in range(4):
        door.held[number].callback(None)
    assert result_of(owner).account == alice


def test_attack_a_flood_from_everywhere_does_not_keep_those_out_who_were_here_before(door, alice, clock, result_of):
    door.attempts.succeeded("198.51.100.1", "alice@example.com", 0.0)
    door.hold = True
    attempts = [from_address(door, f"x{n}@example.com", "x", f"192.0.2.{n}") for n in range(100)]
    owner = from_address(door, "alice@example.com", PASSWORD, "198.51.100.1")
    for attempt in attempts:
        attempt.addErrback(lambda failure: None)
    for number in range(3):
        door.held[number].callback(None)
    assert result_of(owner).account == alice


def test_a_failing_thread_gives_its_place_back(directory, keys, clock, alice, result_of):
    def broken(function, *arguments):
        raise MemoryError

    portal = build_portal(directory, keys, clock, "mx.example.com", broken, Attempts())
    for _ in range(5):
        with pytest.raises(MemoryError):
            result_of(portal.login(UsernamePassword(b"alice@example.com", b"x"), None, ISubmitter))


def test_the_realm_has_submitters_only(door, login, result_of):
    class ISomethingElse(Interface):
        pass

    credentials = UsernamePassword(login.public.encode(), login.shown.encode())
    with pytest.raises(NotImplementedError):
        result_of(door.portal.login(credentials, None, ISomethingElse))
    assert IAnonymous not in door.portal.listCredentialsInterfaces()
