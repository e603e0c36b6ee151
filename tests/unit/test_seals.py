"""Links and return addresses that nobody can forge."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.model.ids import make_submission_id
from smtpeter.seals import LinkSeal, ReturnPath
from smtpeter.smtp.grammar import SENDER, parse_path

KEYS = {"1": bytes(32), "2": b"\x01" * 32, "z9z9z9z9": b"\x02" * 32}
SUBMISSION = make_submission_id(1_700_000_000_123, b"0123456789")
LOCAL_PART = "".join(sorted({*string.ascii_letters, *string.digits, *"!#$%&'*+-/=?^_`{|}~."}))


def path(current: str = "1") -> ReturnPath:
    return ReturnPath(current, KEYS.__getitem__)


# --- return addresses ---


def test_a_return_address_tells_whose_it_is() -> None:
    made = path().make(SUBMISSION, 3)
    assert made == made.lower() and made.startswith("b-1-")
    assert path().read(made) == (SUBMISSION, 3)
    assert parse_path(f"<{made}@bounces.example.com>", SENDER)[0] == f"{made}@bounces.example.com"


@given(
    st.integers(0, 2**48 - 1),
    st.binary(min_size=10, max_size=10),
    st.integers(0, 2**32 - 1),
    st.sampled_from(list(KEYS)),
)
def test_what_was_made_is_read_whatever_has_become_of_its_case(
    milliseconds: int, entropy: bytes, number: int, key_id: str
) -> None:
    submission = make_submission_id(milliseconds, entropy)
    made = path(key_id).make(submission, number)
    assert len(made) <= 64
    assert set(made) <= set(string.ascii_lowercase + string.digits + "-")
    for form in (made, made.upper(), made.swapcase(), made.title()):
        assert path().read(form) == (submission, number)


def test_no_two_recipients_share_an_address() -> None:
    other = make_submission_id(1_700_000_000_123, b"012345678A")
    assert len({path().make(each, number) for each in (SUBMISSION, other) for number in range(1, 1001)}) == 2000


def test_attack_no_character_can_be_changed_left_out_or_added() -> None:
    made = path("2").make(SUBMISSION, 3)
    for position in range(len(made)):
        before, after = made[:position], made[position + 1 :]
        assert path().read(before + after) is None
        for character in LOCAL_PART:
            assert path().read(before + character + made[position:]) is None
            if character.lower() != made[position]:
                assert path().read(before + character + after) is None, (position, character)
    assert path().read(made + "a") is None


def test_attack_letters_that_are_ascii_only_in_lower_case() -> None:
    # The Kelvin sign and the long s: lower() and upper() make k and S of them.
    for number in range(1, 500):
        made = path().make(SUBMISSION, number)
        for plain, strange in (("k", "\u212a"), ("s", "\u017f")):
            if plain in made:
                assert path().read(made.replace(plain, strange, 1)) is None


def test_attack_the_bits_that_are_left_over_in_the_last_character() -> None:
    made = path().make(SUBMISSION, 1)
    alphabet = string.ascii_lowercase + "234567"
    assert [each for each in alphabet if path().read(made[:-1] + each)] == [made[-1]]


def test_attack_the_seal_of_one_key_under_the_name_of_another() -> None:
    made = path("1").make(SUBMISSION, 1)
    assert path().read(made.replace("b-1-", "b-2-")) is None


def test_an_address_lives_as_long_as_its_key() -> None:
    made = path("2").make(SUBMISSION, 1)
    assert path("1").read(made) == (SUBMISSION, 1)
    assert ReturnPath("1", {"1": KEYS["1"]}.__getitem__).read(made) is None


@pytest.mark.parametrize(
    "text", ["", "b", "b-", "b--", "b-1", "b-1-", "postmaster", "b-1-" + "a" * 52, "-" * 64, "b" * 9999]
)
def test_what_is_no_return_address(text: str) -> None:
    assert path().read(text) is None


# --- links ---


def test_attack_no_character_of_a_token_can_be_changed_left_out_or_added() -> None:
    seal = LinkSeal("1", KEYS.__getitem__)
    destination, token = seal.destination(SUBMISSION, 7, b"https://example.com/"), seal.token("1", SUBMISSION, 300)
    assert seal.read(token, destination) == (SUBMISSION, 300, 7, b"https://example.com/")
    for place in range(len(token)):
        for character in string.ascii_letters + string.digits + "-_+/=!. é\n\0":
            others = [token[:place] + character + token[place + 1 :], token[:place] + character + token[place:-1]]
            assert all(seal.read(other, destination) is None for other in others if other != token)
    assert seal.read(token[:-1], destination) is seal.read(token + "A", destination) is None


def test_a_token_has_one_spelling() -> None:
    seal = LinkSeal("1", KEYS.__getitem__)
    destination = seal.destination(SUBMISSION, None, b"")
    tokens = [seal.token("1", SUBMISSION, number) for number in (1, 2**32 - 1, *range(2, 40))]
    assert any("-" in token for token in tokens) and any("_" in token for token in tokens)
    for token in tokens:
        assert seal.read(token, destination) is not None
        other = token.translate(str.maketrans("-_", "+/"))
        assert other == token or seal.read(other, destination) is None
