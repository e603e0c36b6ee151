"""Migrations."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
from pathlib import Path

import pytest

from smtpeter.errors import ConfigError, WrongSchema
from smtpeter.model.account import CredentialKind, Scope
from smtpeter.model.delivery import Lane, RecipientState
from smtpeter.model.ids import make_submission_id
from smtpeter.model.listing import Filter, RecordFilter, Verb
from smtpeter.model.submission import Idempotency, Taken
from smtpeter.store.migrate import known_migrations, migrate, schema_version, split_statements
from tests.contract.engines import START, Threaded, claim, claim_incoming, due, enqueue, made_of, make, settle, store

FIRST = "CREATE TABLE one (x); -- ; not the end\nINSERT INTO one VALUES ('a;\nb');\n"
SECOND = "ALTER TABLE one ADD COLUMN y;\nUPDATE one SET y = 2;\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mail.db"


def open_database(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_a_new_database_is_made_without_a_backup(path: Path) -> None:
    connection = open_database(path)
    migrate(connection, path, 5, {1: FIRST, 2: SECOND})
    assert connection.execute("SELECT * FROM one").fetchall() == [("a;\nb", 2)]
    assert connection.execute("SELECT * FROM migration").fetchall() == [(1, 5), (2, 5)]
    assert [each.name for each in path.parent.iterdir()] == ["mail.db"]


def test_an_old_database_is_copied_before_it_is_changed(path: Path) -> None:
    connection = open_database(path)
    migrate(connection, path, 5, {1: FIRST})
    migrate(connection, path, 6, {1: FIRST, 2: SECOND})
    assert schema_version(connection) == 2
    backup = path.with_name("mail.db.backup-schema-1")
    copy = open_database(backup)
    assert schema_version(copy) == 1
    assert copy.execute("SELECT * FROM one").fetchall() == [("a;\nb",)]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_nothing_is_done_twice(path: Path) -> None:
    connection = open_database(path)
    for _ in range(2):
        migrate(connection, path, 5, {1: FIRST})
    assert connection.execute("SELECT count(*) FROM one").fetchone() == (1,)


def test_a_migration_that_fails_leaves_no_trace(path: Path) -> None:
    connection = open_database(path)
    migrate(connection, path, 5, {1: FIRST})
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, path, 6, {1: FIRST, 2: SECOND + "UPDATE nothing SET x = 1;"})
    assert schema_version(connection) == 1
    assert connection.execute("SELECT * FROM one").fetchall() == [("a;\nb",)]
    migrate(connection, path, 7, {1: FIRST, 2: SECOND})
    assert schema_version(connection) == 2


def test_a_newer_database_is_left_alone(path: Path) -> None:
    connection = open_database(path)
    migrate(connection, path, 5, {1: FIRST, 2: SECOND})
    with pytest.raises(WrongSchema, match="newer") as caught:
        migrate(connection, path, 6, {1: FIRST})
    assert isinstance(caught.value, ConfigError)
    assert "\n" not in str(caught.value)


def test_two_that_migrate_at_once_do_it_once(path: Path) -> None:
    slow, fast = open_database(path), open_database(path)

    class Racing(dict[int, str]):
        def items(self):  # type: ignore[no-untyped-def]
            migrate(fast, path, 5, {1: FIRST})
            return super().items()

    migrate(slow, path, 6, Racing({1: FIRST}))
    assert slow.execute("SELECT * FROM migration").fetchall() == [(1, 5)]


def test_our_own_migrations_are_numbered_without_gaps_and_work(path: Path) -> None:
    migrations = known_migrations()
    assert list(migrations) == list(range(1, len(migrations) + 1))
    migrate(open_database(path), path, 0, migrations)


def test_mail_of_the_first_schema_goes_on_in_the_second(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    connection = open_database(path)
    migrate(connection, path, 5, {1: known_migrations()[1]})
    octets = b"Subject: x\r\n\r\nold\r\n"
    digest = hashlib.sha256(octets).digest()
    due, leased, held, done = (make_submission_id(round(START * 1000) + number, bytes(10)) for number in range(4))
    for number, (id, state) in enumerate([(due, 1), (leased, 2), (held, 3), (done, 4)], 1):
        connection.execute("INSERT INTO content VALUES (?, ?)", (number, octets))
        connection.execute(
            """
            INSERT INTO submission (id, account, login, channel, reverse_path, body, smtputf8, size, digest, content,
                time, expires, subject, message_id, tags, options, recipients, unfinished, first_event, done)
            VALUES (?, 1, 'l', 'smtp', 'me@example.com', '7BIT', 0, ?, ?, ?, ?, ?, 'x', '', '', ?, 1, ?, ?, ?)
            """,
            (
                id,
                len(octets),
                digest,
                number,
                START * 1000,
                START * 1000 + 10**8,
                '[["a","true"]]',
                state < 4,
                number,
                START * 1000 if state == 4 else None,
            ),
        )
        connection.execute(
            """
            INSERT INTO recipient (submission, number, address, domain, state, attempts, due, lease, lease_until)
            VALUES (?, 1, 'you@example.net', 'example.net', ?, 0, ?, 7, 0)
            """,
            (id, state, START * 1000),
        )
        connection.execute("INSERT INTO event VALUES (?, ?, 'attempt', ?, 1, NULL)", (number, START * 1000, id))
    connection.execute("INSERT INTO destination VALUES ('example.net', ?)", (START * 1000,))
    connection.close()

    engine = Threaded(tmp_path)
    assert path.with_name("mail.db.backup-schema-1").exists()
    queue = engine.store.queue
    assert engine.wait(queue.recover()) == 1
    assert engine.wait(queue.apply(Filter(submission=held), Verb.RELEASE, START, 9)) == 1
    assert claim_incoming(engine) == []
    jobs = {job.submission: job for job in claim(engine)}
    assert jobs.keys() == {due, leased, held}
    for job in jobs.values():
        assert (job.content.data, job.content.prepared, job.slots) == (octets, False, ())
        assert job.options == (("a", "true"),)
        settle(engine, job, RecipientState.DELIVERED)
    back = engine.wait(queue.submission(done))
    assert not back.prepare
    assert engine.wait(engine.store.content.read(done, back.content)) == octets
    assert engine.wait(queue.purge(START + 100, 10, 10, 10, 9)) == 4
    engine.wait(engine.store.close())
    check = open_database(path)
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert [check.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("submission", "content")] == [
        (0,)
    ] * 2
    check.close()


def test_credentials_and_mail_of_the_second_schema_go_on_in_the_third(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    connection = open_database(path)
    migrate(connection, path, 5, {number: known_migrations()[number] for number in (1, 2)})
    connection.execute("INSERT INTO account VALUES (1, 'ann@example.com', 'ann@example.com', '', 0, 'approved', '', 0)")
    for number, kind in enumerate(("login", "token"), 1):
        connection.execute(
            "INSERT INTO credential VALUES (?, ?, 1, 'public', x'00', 'k', 'name', ?, 7000, 8000, NULL)",
            (number, kind, '[["a","true"]]'),
        )
    octets = b"Subject: x\r\n\r\nold\r\n"
    old = make_submission_id(round(START * 1000), bytes(10))
    connection.execute("INSERT INTO content VALUES (1, ?)", (octets,))
    connection.execute(
        """
        INSERT INTO submission (id, account, login, channel, reverse_path, body, smtputf8, size, digest, content,
            time, expires, subject, message_id, tags, options, recipients, unfinished, first_event)
        VALUES (?, 1, 'l', 'smtp', 'me@example.com', '7BIT', 0, ?, ?, 1, ?, ?, 'x', '', 'a;b', '', 1, 1, 1)
        """,
        (old, len(octets), hashlib.sha256(octets).digest(), START * 1000, START * 1000 + 10**8),
    )
    connection.execute(
        """
        INSERT INTO recipient (submission, number, address, domain, state, attempts, due)
        VALUES (?, 1, 'you@example.net', 'example.net', 1, 0, ?)
        """,
        (old, START * 1000),
    )
    connection.execute("INSERT INTO event VALUES (1, ?, 'attempt', ?, 1, NULL)", (START * 1000, old))
    connection.execute("INSERT INTO destination VALUES ('example.net', ?)", (START * 1000,))
    connection.close()

    engine = Threaded(tmp_path)
    assert path.with_name("mail.db.backup-schema-2").exists()
    for kind in CredentialKind:
        credential = engine.wait(engine.store.accounts.credential(kind, "public"))
        assert credential is not None
        assert credential.scopes == (Scope.SEND, Scope.READ)
        assert (credential.name, credential.options, credential.used) == ("name", (("a", "true"),), 8.0)
    again = {"account": 1, "idempotency": Idempotency("k", b"d")}
    first = enqueue(engine, **again)
    assert engine.wait(engine.store.queue.enqueue(make(engine, **again))) == Taken(
        first.id, ((first.id, "you@example.net"),), again=True
    )
    (record, new), following = engine.wait(engine.store.journal.records(RecordFilter(account=1), 0, 9, list))
    assert (record.id, record.recipient, record.tags, record.options) == (old, "you@example.net", ("a", "b"), ())
    assert (new.id, following) == (first.id, None)
    assert {job.submission for job in claim(engine)} == {old, first.id}
    engine.wait(engine.store.close())
    check = open_database(path)
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()


def test_mail_of_the_third_schema_goes_on_in_lanes(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    connection = open_database(path)
    migrate(connection, path, 5, {number: known_migrations()[number] for number in (1, 2, 3)})
    octets, ids = b"Subject: x\r\n\r\nold\r\n", {}
    for number, (state, account) in enumerate([(state, account) for state in range(8) for account in (None, 7)], 1):
        ids[state, account] = id = make_submission_id(round(START * 1000) + number, bytes(10))
        connection.execute("INSERT INTO content VALUES (?, ?)", (number, octets))
        connection.execute(
            """
            INSERT INTO submission (id, account, login, channel, reverse_path, body, smtputf8, size, digest, content,
                time, expires, subject, message_id, tags, options, recipients, unfinished, first_event, prepare)
            VALUES (?, ?, 'l', 'smtp', 'me@example.com', '7BIT', 0, ?, ?, ?, ?, ?, 'x', '', '', '', 1, ?, ?, ?)
            """,
            (id, account, len(octets), hashlib.sha256(octets).digest(), number, START * 1000, START * 1000 + 10**8,
             state < 4, number, state == 0),
        )  # fmt: skip
        connection.execute(
            """
            INSERT INTO recipient (submission, number, address, domain, state, attempts, due, lease, lease_until)
            VALUES (?, 1, 'you@example.net', 'example.net', ?, 0, ?, ?, ?)
            """,
            (id, state, START * 1000 + number, 7 if state == 2 else None, START * 1000 + 1 if state == 2 else None),
        )
        if state == 0:
            connection.execute("INSERT INTO preparation VALUES (?, ?, ?, 0, 0)", (id, START * 1000, START * 1000))
    connection.execute("INSERT INTO destination VALUES ('example.net', ?)", (START * 1000 + 3,))
    connection.close()

    engine = Threaded(tmp_path)
    queue, later = engine.store.queue, START + 10
    lanes = [Lane("example.net", 0), Lane("example.net", 7)]
    assert due(engine, START + 0.003) == (lanes[:1], START + 0.004)
    assert {job.submission for job in claim(engine, at=later)} == {ids[1, None], ids[1, 7]}
    assert engine.wait(queue.recover_expired(later, ())) == 2
    assert {job.submission for job in claim(engine, at=later)} == {ids[2, None], ids[2, 7]}
    assert engine.wait(queue.apply(Filter(), Verb.RELEASE, START, 9)) == 2
    waiting = claim_incoming(engine)
    assert store(engine, *[made_of(engine, each) for each in waiting]) == 2
    assert sorted(due(engine)[0]) == lanes
    jobs = claim(engine, at=later)
    assert {job.submission for job in jobs} == {ids[state, account] for state in (0, 3) for account in (None, 7)}
    assert not any(each.delay_told for job in jobs for each in job.recipients)
    assert [job.account for job in sorted(jobs)] == [None, 7, None, 7]
    assert due(engine, later) == ([], None)
    engine.wait(engine.store.close())
    check = open_database(path)
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()


def test_statements_are_split_at_their_ends() -> None:
    assert [each.strip() for each in split_statements("A;\nB\n;\n-- c;\nD")] == ["A;", "B\n;", "-- c;\nD"]
