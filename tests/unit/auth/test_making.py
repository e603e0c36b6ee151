from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from smtpeter.auth.making import SecretMaker
from smtpeter.auth.secrets import hash_login, hash_token, split_token, verify_password
from smtpeter.interfaces import ISecretMaker


def never(*arguments):
    raise AssertionError("this is quick")


def test_logins_and_tokens_are_made_with_the_current_key(keys):
    maker = SecretMaker(keys, never)
    assert verifyObject(ISecretMaker, maker)
    login, again, token = maker.login(), maker.login("somebody"), maker.token()
    assert login.secret_hash == hash_login(keys, "2", login.public, login.shown)
    assert again.public == "somebody" and again.shown != login.shown
    assert token.secret_hash == hash_token(keys, "2", *split_token(token.shown))
    assert {login.key_id, again.key_id, token.key_id} == {"2"}


def test_a_password_is_hashed_elsewhere(keys):
    waiting = []

    def defer_to_thread(function, *arguments):
        waiting.append((Deferred(), function, arguments))
        return waiting[-1][0]

    made = SecretMaker(keys, defer_to_thread).password()
    [(deferred, function, arguments)] = waiting
    assert not made.called
    deferred.callback(function(*arguments))
    password, password_hash = made.result
    assert verify_password(password_hash, password) and len(password.replace(" ", "")) == 32
