"""Who may connect, and how all sessions end together."""

from __future__ import annotations

from smtpeter.intake.listener import Sessions, SmtpFactory
from tests.fakes.smtp_connection import BODY, MAIL, Connection


class Session:
    """Just enough of one."""

    def __init__(self, peer):
        self.peer = peer
        self.told = []

    def turn_away(self, reply):
        self.told.append(reply.code)

    def abort(self, why):
        self.told.append(why)


def join(sessions, *peers):
    joined = [Session(peer) for peer in peers]
    for session in joined:
        sessions.joined(session)
    return joined


def test_connections_are_counted_in_all_and_for_each_address():
    sessions = Sessions(4, 2)
    a, b, c, d, e = join(sessions, "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert (a.told, b.told, c.told, d.told, e.told) == ([], [], [421], [], [421])
    assert len(sessions) == 5
    for session in (c, e, a):
        sessions.left(session)
    (f,) = join(sessions, "10.0.0.1")
    assert f.told == []


def test_an_address_whose_last_session_left_is_forgotten():
    sessions = Sessions(10, 10)
    for session in join(sessions, "10.0.0.1", "10.0.0.1"):
        sessions.left(session)
    assert sessions._addresses == {}


def test_a_session_that_never_joined_takes_nobodys_place_with_it():
    sessions = Sessions(10, 2)
    _, second = join(sessions, "10.0.0.1", "10.0.0.1")
    sessions.left(Session("10.0.0.1"))
    sessions.left(second)
    sessions.left(second)
    assert sessions._addresses == {"10.0.0.1": 1} and len(sessions) == 1


def test_stopping_fires_when_the_last_one_has_gone():
    sessions = Sessions(10, 10)
    first, second = join(sessions, "10.0.0.1", "10.0.0.2")
    stopped = sessions.stop()
    assert first.told == second.told == [421]
    sessions.left(first)
    assert not stopped.called
    sessions.left(second)
    assert stopped.called


def test_stopping_without_sessions_is_done_at_once_and_turns_away_who_comes_late():
    sessions = Sessions(10, 10)
    assert sessions.stop().called
    (late,) = join(sessions, "10.0.0.1")
    assert late.told == [421]
    sessions.left(late)


def test_waiting_for_the_end_may_be_given_up():
    sessions = Sessions(10, 10)
    (session,) = join(sessions, "10.0.0.1")
    stopped = sessions.stop()
    stopped.addErrback(lambda failure: None)
    stopped.cancel()
    sessions.left(session)
    assert len(sessions) == 0


def test_sessions_that_do_not_end_are_cut():
    connection = Connection().log_in()
    connection.codes(MAIL)
    connection.sessions.stop()
    assert not connection.transport.aborted
    connection.sessions.abort()
    assert connection.transport.aborted
    connection.lose()
    assert connection.content.spools[0].aborted and connection.clock.getDelayedCalls() == []


def test_a_session_that_is_cut_during_its_commit_is_told_nothing():
    connection = Connection().log_in()
    connection.intake.hold = True
    connection.say(MAIL + BODY)
    connection.sessions.abort()
    connection.lose()
    connection.intake.commit()
    assert connection.heard() == b""


def test_a_factory_makes_sessions_of_its_kind():
    connection = Connection()
    clear = SmtpFactory(connection.door, connection.sessions).buildProtocol(None)
    encrypted = SmtpFactory(connection.door, connection.sessions, encrypted=True).buildProtocol(None)
    assert not clear._session.encrypted and encrypted._session.encrypted


def test_turning_away_before_tls_is_there_says_nothing_in_clear():
    connection = Connection(handshake=False, sessions=Sessions(0, 100))
    assert connection.heard() == b"" and connection.transport.disconnecting
