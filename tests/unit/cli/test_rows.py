"""The timeline of a message, for people."""

import pytest

from smtpeter.cli.rows import print_message
from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind, JournalEntry
from smtpeter.model.listing import MessageRow

START = 1_700_000_000.0


def shown(capsys, **data):
    row = MessageRow(
        "m1",
        "m1",
        1,
        RecipientState.DUE,
        1,
        "ann@example.com",
        "ann@example.com",
        "x@example.net",
        "Hi",
        START,
        None,
        (),
    )
    print_message(row, [JournalEntry(1, "m1", 1, EventKind.DEFERRAL, START, data)])
    return capsys.readouterr().out.splitlines()


def test_a_dialogue_has_a_line_for_each_of_its_lines(capsys):
    *_, event, first, second = shown(capsys, code=450, dialogue="12 < 220 mx\n15 > EHLO gate", tls="TLSv1.3")
    assert event == "2023-11-14 22:13:20  deferral  code: 450, tls: TLSv1.3"
    assert [first.strip(), second.strip()] == ["12 < 220 mx", "15 > EHLO gate"]
    assert first.startswith(" " * 20)


def test_times_of_a_dialogue_stand_below_each_other(capsys):
    *_, first, second, third = shown(capsys, dialogue="9 < 220 mx\n300000 > QUIT\n300001 - cut off")
    assert first.index("<") == second.index(">") == third.index("-")
    assert first.split() == ["9", "<", "220", "mx"]


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x9b31m", "\u2028", "\x0b", "\x85", "\r"])
def test_a_receiver_that_drives_the_terminal_or_adds_events(capsys, evil):
    said = f"12 < 250 {evil}2023-11-14 22:13:20  delivery"
    *_, event, line = shown(capsys, code=250, dialogue=said)
    assert event.endswith("code: 250")
    assert line.startswith(" ") and line.isprintable()
