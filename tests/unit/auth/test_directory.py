from twisted.internet.defer import Deferred

from smtpeter.auth.directory import Directory
from smtpeter.auth.secrets import make_token
from smtpeter.model.account import CredentialKind


def read(directory, kind, public):
    return Deferred.fromCoroutine(directory.read_credential(kind, public))


def test_known_after_reading_until_the_generation_changes(directory, store, login, alice, result_of):
    assert directory.known_credential(CredentialKind.LOGIN, login.public) is None
    row = result_of(read(directory, CredentialKind.LOGIN, login.public))
    assert directory.known_credential(CredentialKind.LOGIN, login.public) is row
    assert directory.known_credential(CredentialKind.TOKEN, login.public) is None
    result_of(Deferred.fromCoroutine(directory.read_account("ALICE@example.com")))
    assert directory.known_account("alice@EXAMPLE.com") == alice
    directory.generation_changed()
    assert directory.known_credential(CredentialKind.LOGIN, login.public) is None
    assert directory.known_account("alice@example.com") is None


def test_what_is_not_there_is_not_remembered(directory, store, result_of):
    assert result_of(read(directory, CredentialKind.LOGIN, "nobody")) is None
    assert result_of(Deferred.fromCoroutine(directory.read_account("nobody@example.com"))) is None
    assert store.asked == 2
    assert not directory._credentials and not directory._accounts


def test_an_answer_older_than_a_revocation_is_not_kept(directory, store, login, result_of):
    """The store was asked before the revocation and answers after the directory heard of it."""
    row = store.rows[CredentialKind.LOGIN, login.public]
    answer = Deferred()
    store.credential = lambda kind, public: answer
    asked = read(directory, CredentialKind.LOGIN, login.public)
    directory.generation_changed()
    answer.callback(row)
    assert result_of(asked) is row
    assert directory.known_credential(CredentialKind.LOGIN, login.public) is None


def test_a_full_directory_forgets_the_oldest(store, clock, alice, keys, result_of):
    directory = Directory(store, clock, capacity=2)
    publics = [store.put(CredentialKind.TOKEN, alice, make_token(keys)).public for _ in range(3)]
    for public in publics:
        result_of(read(directory, CredentialKind.TOKEN, public))
    known = [directory.known_credential(CredentialKind.TOKEN, public) is not None for public in publics]
    assert known == [False, True, True]


def test_uses_are_written_down_together(directory, store, clock, result_of):
    for number in (5, 3, 5, 5):
        directory.note_used(number)
    result_of(directory.flush())
    result_of(directory.flush())
    assert store.uses == [([3, 5], clock.now)]


def test_uses_survive_storage_trouble(directory, store, clock, result_of):
    directory.note_used(3)
    store.broken = True
    result_of(directory.flush())
    directory.note_used(4)
    store.broken = False
    result_of(directory.flush())
    assert store.uses == [([3, 4], clock.now)]
