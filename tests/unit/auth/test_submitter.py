import pytest
from zope.interface.verify import verifyObject

from smtpeter.auth import secrets
from smtpeter.errors import Refusal, StorageUnavailable
from smtpeter.interfaces import ISubmitter
from smtpeter.model.account import AccountState, CredentialKind, Scope


@pytest.fixture
def submitter(door, login, result_of):
    return result_of(door.password(login.public, login.shown))


@pytest.fixture
def person(door, alice, result_of):
    return result_of(door.password("alice@example.com", "sésame x"))


@pytest.fixture
def program(door, token, result_of):
    return result_of(door.token(token.shown))


def refusal_of(submitter, result_of, sending=True):
    with pytest.raises(Refusal) as caught:
        result_of(submitter.check(sending))
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (550, "5.7.1")
    return caught.value.reply.text


def test_fresh_submitters_may_send_without_asking_the_store(submitter, person, store):
    asked = store.asked
    assert submitter.check() is None
    assert person.check() is None
    assert store.asked == asked


def test_a_change_elsewhere_costs_one_question(submitter, store, directory, result_of):
    directory.generation_changed()
    asked = store.asked
    assert result_of(submitter.check()) is None
    assert submitter.check() is None
    assert store.asked == asked + 1


def test_revoked_in_mid_session(submitter, store, directory, login, result_of):
    del store.rows[CredentialKind.LOGIN, login.public]
    directory.generation_changed()
    assert "revoked" in refusal_of(submitter, result_of)


def test_another_login_of_the_same_name_is_not_ours(submitter, store, directory, login, result_of):
    key = CredentialKind.LOGIN, login.public
    store.rows[key] = store.rows[key]._replace(number=99)
    directory.generation_changed()
    assert "revoked" in refusal_of(submitter, result_of)


def test_rotated_in_mid_session(submitter, store, directory, login, keys, result_of):
    key = CredentialKind.LOGIN, login.public
    store.rows[key] = store.rows[key]._replace(secret_hash=secrets.make_login(keys).secret_hash)
    directory.generation_changed()
    assert "log in again" in refusal_of(submitter, result_of)


def test_password_changed_in_mid_session(person, store, directory, alice, result_of):
    store.put_account(alice._replace(password_hash=secrets.hash_password("new")))
    directory.generation_changed()
    assert "log in again" in refusal_of(person, result_of)
    del store.people["alice@example.com"]
    directory.generation_changed()
    assert "log in again" in refusal_of(person, result_of)


def test_suspended_in_mid_session(submitter, person, store, directory, alice, result_of):
    store.put_account(alice._replace(state=AccountState.SUSPENDED))
    directory.generation_changed()
    for each in (submitter, person):
        assert refusal_of(each, result_of).endswith("suspended: please ask postmaster@mx.example.com")


def test_pending_accounts_log_in_and_are_told_whom_to_ask(door, store, alice, login, result_of):
    store.put_account(alice._replace(state=AccountState.PENDING))
    submitter = result_of(door.password(login.public, login.shown))
    person = result_of(door.password("alice@example.com", "sésame x"))
    for each in (submitter, person):
        assert "not approved for sending yet: please ask postmaster@mx.example.com" in refusal_of(each, result_of)


def test_who_only_reads_need_not_be_approved_yet(submitter, person, program, store, directory, alice, result_of):
    store.put_account(alice._replace(state=AccountState.PENDING))
    directory.generation_changed()
    for each in (submitter, person, program):
        assert result_of(each.check(sending=False)) is None
        assert each.check(sending=False) is None
        assert "not approved" in refusal_of(each, result_of)


def test_whoever_is_suspended_or_revoked_may_not_even_read(program, person, store, directory, alice, token, result_of):
    store.put_account(alice._replace(state=AccountState.SUSPENDED))
    directory.generation_changed()
    for each in (program, person):
        assert "suspended" in refusal_of(each, result_of, sending=False)
    del store.rows[CredentialKind.TOKEN, token.public]
    directory.generation_changed()
    assert "This token was revoked" in refusal_of(program, result_of, sending=False)


def test_a_person_may_everything_a_login_sends_and_a_token_is_for_what_it_says(submitter, person, program):
    assert verifyObject(ISubmitter, submitter)
    assert person.scopes == (Scope.SEND, Scope.READ, Scope.MANAGE)
    assert submitter.scopes == (Scope.SEND,)
    assert program.scopes == (Scope.SEND, Scope.READ)


def test_edited_scopes_count_for_the_next_request(program, store, directory, token, result_of):
    key = CredentialKind.TOKEN, token.public
    store.rows[key] = store.rows[key]._replace(scopes=(Scope.READ,))
    directory.generation_changed()
    result_of(program.check(sending=False))
    assert program.scopes == (Scope.READ,)


def test_approval_counts_at_once(door, store, alice, login, result_of):
    """Without waiting for the directory to hear of it."""
    store.put_account(alice._replace(state=AccountState.PENDING))
    submitter = result_of(door.password(login.public, login.shown))
    refusal_of(submitter, result_of)
    store.put_account(alice)
    assert result_of(submitter.check()) is None
    assert submitter.account.state is AccountState.APPROVED
    assert submitter.check() is None


def test_edited_options_count_for_the_next_message(submitter, store, directory, login, result_of):
    key = CredentialKind.LOGIN, login.public
    store.rows[key] = store.rows[key]._replace(options=(("trackclicks", "true"),))
    directory.generation_changed()
    result_of(submitter.check())
    assert submitter.options == (("trackclicks", "true"),)


def test_storage_trouble_is_temporary(submitter, store, directory, result_of):
    store.broken = True
    assert submitter.check() is None
    directory.generation_changed()
    with pytest.raises(StorageUnavailable):
        result_of(submitter.check())


def test_use_is_noted_for_logins_and_not_for_people(submitter, person, directory, store, login, result_of):
    for _ in range(3):
        submitter.check()
    person.check()
    result_of(directory.flush())
    assert [numbers for numbers, _ in store.uses] == [[store.rows[CredentialKind.LOGIN, login.public].number]]
