"""Private keys at rest."""

from __future__ import annotations

import pytest

from smtpeter.auth.keys import KeyRing
from smtpeter.auth.sealing import Unsealable, seal, unseal

RING = KeyRing("2", {"1": b"1" * 32, "2": b"2" * 32})
NAME = "s1._domainkey.own.example"
SECRET = b"private key"


def test_what_was_sealed_is_unsealed() -> None:
    sealed, key_id = seal(RING, NAME, SECRET)
    assert key_id == "2"
    assert SECRET not in sealed
    assert unseal(RING, NAME, sealed, key_id) == SECRET


def test_the_same_key_is_never_sealed_twice_alike() -> None:
    assert seal(RING, NAME, SECRET)[0] != seal(RING, NAME, SECRET)[0]


def test_an_older_master_key_still_unseals() -> None:
    older = KeyRing("1", {"1": b"1" * 32})
    assert unseal(RING, NAME, *seal(older, NAME, SECRET)) == SECRET


def test_attack_a_sealed_key_put_under_another_name() -> None:
    sealed, key_id = seal(RING, NAME, SECRET)
    for name in ("s1._domainkey.other.example", "s2._domainkey.own.example"):
        with pytest.raises(Unsealable):
            unseal(RING, name, sealed, key_id)


def test_attack_an_octet_changed() -> None:
    sealed, key_id = seal(RING, NAME, SECRET)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(Unsealable):
            unseal(RING, NAME, bytes(changed), key_id)


@pytest.mark.parametrize("sealed", [b"", b"short", b"x" * 12, b"x" * 28])
def test_what_was_never_sealed(sealed: bytes) -> None:
    with pytest.raises(Unsealable):
        unseal(RING, NAME, sealed, "2")


def test_other_master_keys() -> None:
    sealed, key_id = seal(RING, NAME, SECRET)
    with pytest.raises(Unsealable, match="damaged"):
        unseal(KeyRing("2", {"2": b"3" * 32}), NAME, sealed, key_id)
    with pytest.raises(Unsealable, match="no key '2'"):
        unseal(KeyRing("1", {"1": b"1" * 32}), NAME, sealed, key_id)
