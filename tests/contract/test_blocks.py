"""The list of links that must die."""

from __future__ import annotations

from smtpeter.model.delivery import RecipientState
from smtpeter.model.feature import Block, BlockKind
from tests.contract.engines import START, Engine, claim, enqueue, settle


def test_blocks_come_back_oldest_first(engine: Engine) -> None:
    blocks = engine.store.blocks
    assert engine.wait(blocks.blocks()) == []
    assert engine.wait(blocks.block(BlockKind.DOMAIN, "evil.example", START + 2)) is True
    assert engine.wait(blocks.block(BlockKind.ACCOUNT, "ann@example.com", START + 1)) is True
    engine.reopen()
    assert engine.wait(engine.store.blocks.blocks()) == [
        Block(BlockKind.ACCOUNT, "ann@example.com", START + 1),
        Block(BlockKind.DOMAIN, "evil.example", START + 2),
    ]


def test_nothing_is_blocked_twice_nor_unblocked_twice(engine: Engine) -> None:
    blocks = engine.store.blocks
    assert engine.wait(blocks.block(BlockKind.DOMAIN, "evil.example", START)) is True
    assert engine.wait(blocks.block(BlockKind.DOMAIN, "Evil.Example", START + 1)) is False
    assert engine.wait(blocks.block(BlockKind.ACCOUNT, "evil.example", START + 1)) is True
    assert engine.wait(blocks.unblock(BlockKind.DOMAIN, "EVIL.example")) is True
    assert engine.wait(blocks.unblock(BlockKind.DOMAIN, "evil.example")) is False
    assert engine.wait(blocks.blocks()) == [Block(BlockKind.ACCOUNT, "evil.example", START + 1)]


def test_a_running_server_is_told_of_changes_alone(engine: Engine) -> None:
    blocks, generation = engine.store.blocks, engine.store.queue.generation
    seen = [engine.wait(generation())]
    for change in (
        blocks.block(BlockKind.DOMAIN, "evil.example", START),
        blocks.block(BlockKind.DOMAIN, "evil.example", START),
        blocks.unblock(BlockKind.DOMAIN, "evil.example"),
        blocks.unblock(BlockKind.DOMAIN, "evil.example"),
    ):
        engine.wait(change)
    seen.append(engine.wait(generation()))
    assert seen[1] == seen[0] + 2


def test_a_block_outlives_the_mail_whose_links_it_ends(engine: Engine) -> None:
    taken = enqueue(engine)
    engine.wait(engine.store.blocks.block(BlockKind.SUBMISSION, taken.id, START))
    settle(engine, claim(engine)[0], RecipientState.DELIVERED)
    assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, 10, 9)) == 1
    assert engine.wait(engine.store.blocks.blocks()) == [Block(BlockKind.SUBMISSION, taken.id, START)]
