"""Large requests in processes of their own, as the server sees them."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.web.rest.elsewhere import (
    DEADLINE,
    IDLE,
    LONG,
    PROCESSES,
    SLOW,
    WAITING,
    Elsewhere,
    FilePieces,
)
from smtpeter.web.rest.exchange import Setup, encode_error, encode_outgoing
from smtpeter.web.rest.outgoing import Rules
from smtpeter.web.rest.values import ApiError, Request

SETUP = Setup(17, Rules({"tags": "tags"}, 1000), 5_000_000)
ENVELOPE = Envelope("me@example.org", (Recipient("a@example.com", "example.com", "NEVER"),), "7BIT", False, "FULL", "x")


class FakeProcess:
    """A process: what it was told, and what the test has it say."""

    def __init__(self, protocol):
        self.protocol = protocol
        self.octets = b""
        self.closed = False
        self.signals = []

    def write(self, octets):
        self.octets += octets

    def closeStdin(self):
        self.closed = True

    def signalProcess(self, name):
        self.signals.append(name)

    @property
    def tasks(self):
        return [json.loads(line) for line in self.octets.splitlines()[1:]]

    def compose(self, octets=b"a: b\r\n\r\n"):
        Path(self.tasks[-1]["file"] + ".composed").write_bytes(octets)
        self.say(encode_outgoing(ENVELOPE, {"tags": "x"}, b"digest"))

    def say(self, octets):
        self.protocol.outReceived(octets)

    def end(self, status=0, signal=None):
        reason = ProcessTerminated(status or None, signal, status) if status or signal else ProcessDone(0)
        self.protocol.processEnded(Failure(reason))


class Hall:
    """A place for processes, and requests for them."""

    def __init__(self, directory):
        self.directory = directory
        self.clock = Clock()
        self.all = []
        self.trouble = None
        self.elsewhere = Elsewhere(processes=self, timers=self.clock, directory=directory, setup=SETUP,
                                   command=("python", "-m", "x"), environment={"A": "b"})  # fmt: skip

    def spawnProcess(self, protocol, executable, arguments, environment):
        if self.trouble is not None:
            raise self.trouble
        assert (executable, arguments, environment) == ("python", ("python", "-m", "x"), {"A": "b"})
        self.all.append(FakeProcess(protocol))
        return self.all[-1]

    def ask(self, body=b"{}", file=None, account=7):
        found = []
        request = Request(b"POST", b"/v1/send", ((b"content-type", b"application/json"),), "", True, "", body, file)
        Deferred.fromCoroutine(self.elsewhere.compose(request, account)).addBoth(found.append)
        return found

    def files(self):
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def hall(tmp_path):
    return Hall(tmp_path)


def error(found):
    ((failure),) = found
    failure.trap(ApiError)
    return failure.value.status, failure.value.text


def test_a_request_in_a_file(hall):
    file = hall.directory / "one.upload"
    file.write_bytes(b"{}")
    found = hall.ask(b"", file)
    (process,) = hall.all
    assert Setup.decode(process.octets.splitlines()[0]) == SETUP
    assert process.tasks == [{"file": str(file), "type": "application/json"}]
    process.compose(b"x" * 100_000)
    ((outgoing, digest, remove),) = found
    assert outgoing.envelope == ENVELOPE and outgoing.options == {"tags": "x"} and digest == b"digest"
    assert b"".join(outgoing.pieces) == b"".join(outgoing.pieces) == b"x" * 100_000
    remove()
    assert hall.files() == ["one.upload"]


def test_a_request_in_memory_is_in_a_file_for_as_long_as_it_is_needed(hall):
    found = hall.ask(b'{"a": 1}')
    (process,) = hall.all
    file = Path(process.tasks[0]["file"])
    assert file.read_bytes() == b'{"a": 1}' and file.stat().st_mode & 0o777 == 0o600
    assert file.parent == hall.directory and file.name.endswith(".upload")
    process.compose()
    found[0].remove()
    assert hall.files() == []


def test_an_answer_in_two_pieces(hall):
    found = hall.ask()
    line = encode_error(ApiError(400, "no"))
    hall.all[0].say(line[:5])
    assert not found
    hall.all[0].say(line[5:])
    assert error(found) == (400, "no")
    assert hall.files() == []


def test_what_a_process_refuses_leaves_no_file(hall):
    found = hall.ask()
    Path(hall.all[0].tasks[0]["file"] + ".composed").write_bytes(b"half")
    hall.all[0].say(encode_error(ApiError(503, "no room")))
    assert error(found) == (503, "no room") and found[0].value.fields
    assert hall.files() == []


def test_a_process_does_one_thing_after_the_other(hall):
    first, second, third = hall.ask(), hall.ask(), hall.ask()
    assert len(hall.all) == PROCESSES == 2 and [len(each.tasks) for each in hall.all] == [1, 1]
    hall.all[1].compose()
    assert second and len(hall.all[1].tasks) == 2
    hall.all[1].compose()
    hall.all[0].compose()
    assert first and third and hall.ask() == [] and len(hall.all) == 2


def test_no_more_wait_than_may(hall):
    for _ in range(PROCESSES + WAITING):
        assert hall.ask() == []
    found = hall.ask()
    assert error(found)[0] == 503 and dict(found[0].value.fields)[b"Retry-After"]
    assert len(hall.files()) == PROCESSES + WAITING


def test_who_has_the_most_waiting_makes_room_for_others(hall):
    many = [hall.ask() for _ in range(PROCESSES + WAITING)]
    other = hall.ask(account=8)
    assert not other and error(many.pop())[0] == 503 and not any(many)
    hall.all[0].compose()
    assert json.loads(hall.all[0].octets.splitlines()[-1])
    hall.all[0].compose()
    assert other


def test_accounts_take_turns(hall):
    first = [hall.ask() for _ in range(4)]
    second, third = hall.ask(account=8), hall.ask(account=9)
    for _ in range(3):
        hall.all[0].compose()
    assert first[0] and second and third and not any(first[1:])


def test_nobody_has_two_processes_while_others_wait(hall):
    hall.ask()
    hall.ask(account=8)
    mine, others = [hall.ask() for _ in range(3)], [hall.ask(account=8) for _ in range(3)]
    for _ in range(3):
        hall.all[1].compose()
    assert [bool(each) for each in others] == [True, True, False] and not any(mine)


def kill_one_for_its_cpu(hall):
    hall.ask()
    hall.all[0].end(signal=signal.SIGPROF)


def test_who_took_too_much_has_one_process_only(hall):
    kill_one_for_its_cpu(hall)
    hall.ask()
    waiting = hall.ask()
    assert len(hall.all) == 3 and hall.all[2].tasks == []
    other = hall.ask(account=8)
    hall.all[2].compose()
    assert other and not waiting
    hall.all[1].compose()
    assert not waiting and sum(len(each.tasks) for each in hall.all[1:]) == 3
    hall.all[1].compose()
    assert waiting


def test_a_process_that_was_given_nothing_ends_too(hall):
    kill_one_for_its_cpu(hall)
    hall.ask()
    hall.ask()
    hall.clock.advance(IDLE)
    assert hall.all[2].closed


def test_who_took_too_much_comes_after_others(hall):
    hall.ask()
    hall.ask(account=8)
    slow, other = hall.ask(), hall.ask(account=9)
    hall.all[0].end(signal=signal.SIGPROF)
    assert len(hall.all[2].tasks) == 1 and hall.all[1].tasks
    hall.all[2].compose()
    assert other and not slow


def test_whose_request_took_long_has_one_process_only(hall):
    hall.ask()
    hall.clock.advance(LONG + 1)
    hall.all[0].compose()
    hall.ask()
    waiting, other = hall.ask(), hall.ask(account=8)
    hall.all[1].compose()
    assert other and not waiting


def test_that_is_forgotten_after_a_while(hall):
    kill_one_for_its_cpu(hall)
    hall.clock.advance(SLOW)
    hall.ask()
    hall.ask()
    assert [len(each.tasks) for each in hall.all] == [1, 1, 1]


def test_who_has_nothing_to_do_for_long_goes(hall):
    hall.ask()
    hall.all[0].compose()
    hall.clock.advance(IDLE - 1)
    assert not hall.all[0].closed
    hall.clock.advance(1)
    assert hall.all[0].closed
    hall.all[0].end()
    hall.ask()
    assert len(hall.all) == 2


def test_who_is_about_to_go_is_given_nothing(hall):
    hall.ask()
    hall.all[0].compose()
    hall.clock.advance(IDLE)
    found = hall.ask()
    hall.all[0].end()
    assert not found and len(hall.all[1].tasks) == 1


def test_who_takes_too_long_is_ended(hall):
    found = hall.ask()
    hall.clock.advance(DEADLINE)
    assert hall.all[0].signals == ["KILL"]
    hall.all[0].end(signal=9)
    assert error(found)[0] == 503 and dict(found[0].value.fields)[b"Retry-After"]


def test_who_takes_too_much_cpu_was_ended_by_the_system(hall):
    found = hall.ask()
    hall.all[0].end(signal=signal.SIGPROF)
    assert error(found)[0] == 413


@pytest.mark.parametrize(("status", "signal"), [(1, None), (0, 9), (0, None)])
def test_who_ends_for_another_reason_is_no_fault_of_the_client(hall, status, signal):
    found = hall.ask()
    hall.all[0].protocol.errReceived(b"Traceback\nImportError: x\n")
    hall.all[0].end(status, signal)
    assert error(found)[0] == 503 and hall.files() == []


def test_what_waits_goes_to_another_one(hall):
    found = [hall.ask() for _ in range(3)]
    hall.all[0].end(signal=9)
    assert len(hall.all) == 3
    hall.all[2].compose()
    assert found[2]


@pytest.mark.parametrize("octets", [b"not json\n", b"[]\n", b"1\n", b'{"x": 1}\n', b"x" * (17 * 1024 * 1024)])
def test_who_says_what_makes_no_sense_is_ended(hall, octets):
    found = hall.ask()
    hall.all[0].say(octets)
    assert hall.all[0].signals == ["KILL"]
    hall.all[0].end(signal=9)
    assert error(found)[0] == 503


def test_who_says_something_without_being_asked_is_ended(hall):
    hall.ask()
    hall.all[0].compose()
    hall.all[0].say(encode_error(ApiError(400, "no")))
    assert hall.all[0].signals == ["KILL"]


def test_no_process_can_be_started(hall):
    hall.trouble = OSError("no more processes")
    assert error(hall.ask())[0] == 503 and hall.files() == []
    hall.trouble = None
    assert hall.ask() == [] and len(hall.all) == 1


def test_stop(hall):
    found = [hall.ask() for _ in range(3)]
    hall.elsewhere.stop()
    assert error(found[2])[0] == 503 and [each.signals for each in hall.all] == [["KILL"], ["KILL"]]
    for process in hall.all:
        process.end(signal=9)
    assert [error(each)[0] for each in found] == [503] * 3 and error(hall.ask())[0] == 503
    assert hall.clock.getDelayedCalls() == [] and hall.files() == []


def test_pieces_of_a_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a" * 200_000)
    assert [len(piece) for piece in FilePieces(path)] == [65536, 65536, 65536, 3392]


def test_a_request_for_which_there_is_no_room_leaves_nothing(hall, monkeypatch):
    class Full:
        def __init__(self, descriptor, mode):
            self.descriptor = descriptor

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            os.close(self.descriptor)

        def write(self, octets):
            os.write(self.descriptor, octets[:1])
            raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "fdopen", Full)
    status, text = error(hall.ask())
    assert status == 503 and "not enough room" in text
    assert hall.files() == [] and hall.all == []
