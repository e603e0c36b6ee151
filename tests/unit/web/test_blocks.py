from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from smtpeter.errors import StorageUnavailable
from smtpeter.model.feature import Block, BlockKind
from smtpeter.store.opening import result_of
from smtpeter.web.blocks import RETRY, BlockLists, Blocks, read_lists

NUMBERS = {"ann@example.com": 1, "bob@example.com": 2}


class Store:
    """Both stores that a list is read from."""

    def __init__(self):
        self.kept = []
        self.error = None
        self.asked = 0
        self.slow = None

    def blocks(self):
        self.asked += 1
        if self.error is not None:
            return fail(self.error)
        return self.slow or succeed(list(self.kept))

    def account(self, email):
        number = NUMBERS.get(email)
        return succeed(None if number is None else SimpleNamespace(number=number))

    def block(self, kind, value):
        self.kept.append(Block(kind, value, 1.0))


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def timers():
    return Clock()


@pytest.fixture
def blocks(store, timers):
    return Blocks(store, store, timers, BlockLists())


def test_nothing_is_blocked_at_first(blocks):
    assert not blocks.is_blocked(1, "s", "example.com")
    assert not blocks.is_blocked(None, "s")


def test_each_kind(blocks, store):
    store.block(BlockKind.ACCOUNT, "ann@example.com")
    store.block(BlockKind.ACCOUNT, "gone@example.com")
    store.block(BlockKind.SUBMISSION, "bad")
    store.block(BlockKind.DOMAIN, "evil.example")
    blocks.generation_changed()
    assert blocks.is_blocked(1, "s")
    assert not blocks.is_blocked(2, "s")
    assert not blocks.is_blocked(None, "s")
    assert blocks.is_blocked(2, "bad")
    assert blocks.is_blocked(2, "s", "evil.example")
    store.kept.clear()
    assert blocks.is_blocked(1, "s"), "as it was when the generation last changed"
    blocks.generation_changed()
    assert not blocks.is_blocked(1, "bad", "evil.example")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "EVIL.example", "www.evil.example", "a.b.evil.example", "evil.example.", "evil%2eexample",
     "\uff45vil.example", "evil\u3002example", "evil.example\u3002", "evil.example%EF%BC%8E",
     "aa--b.evil.ex\u00adample"],
)  # fmt: skip
def test_a_domain_and_all_below_it(blocks, store, host):
    store.block(BlockKind.DOMAIN, "evil.example")
    blocks.generation_changed()
    assert blocks.is_blocked(1, "s", host)


@pytest.mark.parametrize("host", ["", "example", "notevil.example", "evil.example.org", "evil", ".", "x" * 100_000])
def test_other_domains_live(blocks, store, host):
    store.block(BlockKind.DOMAIN, "evil.example")
    blocks.generation_changed()
    assert not blocks.is_blocked(1, "s", host)


def test_the_last_list_is_used_while_the_store_is_down(blocks, store, timers):
    store.block(BlockKind.SUBMISSION, "bad")
    blocks.generation_changed()
    store.error = StorageUnavailable("locked")
    store.block(BlockKind.SUBMISSION, "worse")
    blocks.generation_changed()
    assert blocks.is_blocked(None, "bad") and not blocks.is_blocked(None, "worse")
    timers.advance(RETRY)
    store.error = None
    timers.advance(RETRY)
    assert blocks.is_blocked(None, "worse")
    asked = store.asked
    timers.advance(RETRY * 10)
    assert store.asked == asked


def test_a_bug_does_not_end_the_asking(blocks, store, timers):
    store.error = RuntimeError("a bug")
    blocks.generation_changed()
    store.error = None
    store.block(BlockKind.SUBMISSION, "bad")
    timers.advance(RETRY)
    assert blocks.is_blocked(None, "bad")


def test_a_change_while_the_list_is_read_is_not_missed(blocks, store):
    store.slow = Deferred()
    blocks.generation_changed()
    blocks.generation_changed()
    slow, store.slow = store.slow, None
    store.block(BlockKind.SUBMISSION, "bad")
    slow.callback([])
    assert blocks.is_blocked(None, "bad")
    assert store.asked == 2


def test_what_is_known_from_the_start_is_blocked_at_once(store, timers):
    store.block(BlockKind.SUBMISSION, "bad")
    lists = result_of(Deferred.fromCoroutine(read_lists(store, store)))
    store.error = StorageUnavailable("locked")
    assert Blocks(store, store, timers, lists).is_blocked(None, "bad")


def test_stopped_it_asks_no_more(blocks, store, timers):
    store.error = StorageUnavailable("locked")
    blocks.generation_changed()
    blocks.stop()
    asked = store.asked
    timers.advance(RETRY * 3)
    blocks.generation_changed()
    assert store.asked == asked
    assert not timers.getDelayedCalls()
