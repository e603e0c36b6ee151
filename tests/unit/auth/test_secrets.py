import os
import re
import string
import sys
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.auth import secrets
from smtpeter.auth.keys import KeyRing
from smtpeter.auth.secrets import (
    hash_login,
    hash_password,
    hash_token,
    make_login,
    make_password,
    make_token,
    normalise_password,
    split_token,
    unmatchable_hash,
    verify_password,
)

KEYS = KeyRing("2", {"1": bytes(32), "2": bytes(range(32))})


def test_passwords_have_160_bits_in_groups():
    password = make_password()
    assert re.fullmatch(r"[0-9a-z]{4}(?: [0-9a-z]{4}){7}", password)
    assert len(secrets._ALPHABET) == len(set(secrets._ALPHABET)) == 32
    assert password != make_password()


def test_usernames_and_tokens_are_safe_in_urls():
    safe = set(string.ascii_lowercase + string.digits + "_")
    login, token = make_login(KEYS), make_token(KEYS)
    assert set(login.public) <= safe and set(token.shown) <= safe
    assert token.shown.startswith("smtpeter_")
    assert split_token(token.shown) == (token.public, token.shown.rpartition("_")[2])


def test_login_s_password_counts_with_or_without_spaces():
    login = make_login(KEYS)
    for typed in (login.shown, login.shown.replace(" ", ""), f" {login.shown}\n"):
        assert hash_login(KEYS, login.key_id, login.public, typed) == login.secret_hash
    assert hash_login(KEYS, login.key_id, login.public, login.shown[:-1]) != login.secret_hash


def test_hashes_hang_on_key_name_and_purpose():
    login = make_login(KEYS, "bob")
    assert login.public == "bob" and login.key_id == "2"
    assert hash_login(KEYS, "1", "bob", login.shown) != login.secret_hash
    assert hash_login(KEYS, "2", "eve", login.shown) != login.secret_hash
    secret = login.shown.replace(" ", "")
    assert hash_token(KEYS, "2", "bob", secret) != login.secret_hash


def test_representation_of_a_new_secret_hides_it():
    token = make_token(KEYS)
    assert token.shown not in repr(token) and token.shown.rpartition("_")[2] not in repr(token)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "smtpeter_",
        "smtpeter_a_b",
        "smtpeter_" + "a" * 12 + "_" + "a" * 31,
        "x" * 54,
        "smtpeter_" + "a" * 12 + "_" + "a" * 32 + "\n",
    ],
)
def test_what_is_no_token(text):
    assert split_token(text) is None


def test_passwords_of_people_verify():
    password_hash = hash_password("Pässword 1")
    assert password_hash.startswith("$argon2id$")
    assert verify_password(password_hash, "Pässword 1")
    assert verify_password(password_hash, unicodedata.normalize("NFD", "Pässword 1"))
    assert verify_password(password_hash, "Pässword\u00a01")
    assert not verify_password(password_hash, "pässword 1")
    assert not verify_password(password_hash, "")
    assert not verify_password(password_hash, "Pässword 1\x00")


def test_generated_password_of_a_person_works_without_its_spaces():
    password = make_password()
    assert verify_password(hash_password(password), password.replace(" ", ""))


@pytest.mark.parametrize("password", ["", "   ", "a\x00b", "a\nb", "a\x7fb", "a\x85b", "\ud800", "x" * 1025])
def test_what_cannot_be_a_password(password):
    assert normalise_password(password) is None
    with pytest.raises(ValueError, match="a password is not empty"):
        hash_password(password)


@given(st.text(max_size=60))
def test_normalising_is_stable(password):
    once = normalise_password(password)
    if once is not None:
        assert normalise_password(once) == once


def test_damaged_hashes_match_nothing():
    for damaged in ("", "x", "$argon2id$v=19$m=8,t=1,p=1$AAAA", hash_password("a")[:-1]):
        assert not verify_password(damaged, "a")


def test_unmatchable_hash_costs_what_a_real_one_does():
    """Same parameters and same lengths, so that the work is the same."""
    real, dummy = hash_password("a").split("$"), unmatchable_hash().split("$")
    assert dummy[:4] == real[:4]
    assert [len(part) for part in dummy] == [len(part) for part in real]
    assert not verify_password(unmatchable_hash(), "")
    assert unmatchable_hash() != unmatchable_hash()


def test_passwords_are_checked_on_threads_that_give_way_to_everything_else():
    def check():
        return secrets.verify_password_gently(secrets.hash_password("x"), "x"), os.getpriority(
            os.PRIO_PROCESS, threading.get_native_id()
        )

    before = os.getpriority(os.PRIO_PROCESS, 0)
    with ThreadPoolExecutor(1) as pool:
        right, niceness = pool.submit(check).result()
    assert right
    if sys.platform == "linux":
        assert niceness == max(before, 10)
    assert check()[0] and os.getpriority(os.PRIO_PROCESS, 0) == before
