"""Who may connect, and how all sessions end together."""

from __future__ import annotations

import pytest

from smtpeter.intake.listener import REFUSED_AT_ONCE, Sessions, SmtpFactory
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
    assert (a.told, b.told, c.told, d.told, e.told) == ([], [], [421], [], [])
    assert join(sessions, "10.0.0.4")[0].told == [421]
    assert len(sessions) == 4
    for session in (c, e, a):
        sessions.left(session)
    assert join(sessions, "10.0.0.1")[0].told == [] and len(sessions) == 3


def test_those_who_are_refused_take_nobodys_place():
    sessions = Sessions(10, 1)
    first, *refused = join(sessions, *["10.0.0.1"] * 20)
    assert all(session.told == [421] for session in refused) and first.told == []
    assert join(sessions, "10.0.0.2")[0].told == []
    sessions.left(first)
    assert join(sessions, "10.0.0.1")[0].told == []


def test_a_network_of_ipv6_counts_as_one_address():
    sessions = Sessions(100, 2)
    told = [
        session.told
        for session in join(
            sessions, "2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3", "2001:db8:0:1::1", "::ffff:10.0.0.1",
            "::ffff:10.0.0.2",
        )
    ]  # fmt: skip
    assert told == [[], [], [421], [], [], []]


def test_a_flood_of_refused_connections_is_cut():
    sessions = Sessions(1, 1)
    told = [session.told for session in join(sessions, *["10.0.0.1"] * (REFUSED_AT_ONCE + 3))]
    assert told[:2] == [[], [421]] and told[REFUSED_AT_ONCE] == [421]
    assert all(isinstance(each[0], str) for each in told[REFUSED_AT_ONCE + 1 :])


def test_stress_is_when_hardly_any_places_are_left():
    sessions = Sessions(10, 10)
    joined = join(sessions, *(f"10.0.0.{n}" for n in range(8)))
    assert not sessions.stress
    join(sessions, "10.0.0.9")
    assert sessions.stress
    sessions.left(joined[0])
    assert not sessions.stress


def test_an_address_whose_last_session_left_is_forgotten():
    sessions = Sessions(10, 10)
    for session in join(sessions, "10.0.0.1", "10.0.0.1"):
        sessions.left(session)
    assert sessions._networks == {}


def test_a_session_that_never_joined_takes_nobodys_place_with_it():
    sessions = Sessions(10, 2)
    _, second = join(sessions, "10.0.0.1", "10.0.0.1")
    sessions.left(Session("10.0.0.1"))
    sessions.left(second)
    sessions.left(second)
    assert sessions._networks == {"10.0.0.1": 1} and len(sessions) == 1


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


@pytest.mark.parametrize(("stopping", "reply"), [(False, b"421 4.7.0 Too many"), (True, b"421 4.3.2 The service")])
def test_who_is_turned_away_before_tls_is_there_is_told_so_after_the_handshake(stopping, reply):
    sessions = Sessions(100 if stopping else 0, 100)
    connection = Connection(handshake=False, sessions=sessions)
    if stopping:
        sessions.stop()
    assert connection.heard() == b"" and not connection.transport.disconnecting
    connection.protocol.handshakeCompleted()
    assert connection.heard().startswith(reply) and connection.transport.disconnecting


def test_who_is_turned_away_has_no_more_time_for_the_handshake_than_others():
    connection = Connection(handshake=False, sessions=Sessions(0, 100))
    connection.clock.advance(10)
    assert connection.transport.aborted and connection.heard() == b""


def test_stopping_waits_for_a_handshake_under_way_within_starttls():
    connection = Connection(encrypted=False)
    connection.heard()
    connection.codes(b"EHLO x\r\nSTARTTLS\r\n")
    connection.sessions.stop()
    assert connection.heard() == b""
    connection.protocol.handshakeCompleted()
    assert connection.codes() == [421] and connection.transport.disconnecting


def test_stopping_waits_for_those_who_are_refused_too():
    sessions = Sessions(1, 1)
    first, second = join(sessions, "10.0.0.1", "10.0.0.1")
    stopped = sessions.stop()
    sessions.left(first)
    assert not stopped.called
    sessions.abort()
    assert second.told[-1] == "the server stops"
    sessions.left(second)
    assert stopped.called
