import json

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from smtpeter.errors import StorageUnavailable
from smtpeter.model.event import EventKind
from smtpeter.model.feature import WebRequest
from smtpeter.web.metrics import Metrics
from smtpeter.web.recorder import CHUNK, GATHER, HEADERS, MOST_OF_ONE, RETRY, STALL, STEP, STOP, WRITERS, Recorder

START = 1_000_000.0
FIREFOX = (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")


class Journal:
    """Keeps what it is given; ``delivered`` are delivery times by submission, the others long ago."""

    def __init__(self):
        self.happenings = []
        self.sizes = []
        self.delivered = {}
        self.gone = set()
        self.error = None
        self.slow = None

    def delivery_times(self, recipients):
        if self.error is not None:
            return fail(self.error)
        return succeed({each: self.delivered.get(each[0], 1.0) for each in recipients if each[0] not in self.gone})

    def record(self, happenings):
        if self.error is not None:
            return fail(self.error)
        if any("broken" in happening.data for happening in happenings):
            return fail(TypeError("not to be written"))
        self.sizes.append(len(happenings))
        self.happenings += happenings
        if self.slow is None:
            return succeed(len(happenings))
        self.slow.append(Deferred())
        return self.slow[-1]

    def go_on(self):
        waiting, self.slow = self.slow, None
        for deferred in waiting:
            deferred.callback(1)


class Desk:
    def __init__(self, **options):
        self.clock = Clock()
        self.clock.advance(START)
        self.journal = Journal()
        self.metrics = Metrics()
        self.recorder = Recorder(self.journal, self.metrics, self.clock, **options)

    def click(self, submission="s", number=1, destination="https://example.com/", *, kind=EventKind.CLICK, **request):
        headers = (FIREFOX, *request.pop("headers", ()))
        values = {
            "method": "GET", "tail": "", "query": "", "headers": headers, "address": "192.0.2.7",
            "time": self.clock.seconds(), **request,
        }  # fmt: skip
        data = {"destination": destination} if kind is EventKind.CLICK else {}
        self.recorder.record(kind, submission, number, data, WebRequest(**values))

    def settle(self):
        self.clock.advance(GATHER)
        self.clock.advance(GATHER)
        return self.journal.happenings

    def counted(self, name):
        return float(self.metrics.render().decode().split(f"\nsmtpeter_{name}_total ")[1].split("\n")[0])


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def log():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_a_click_is_written_with_what_the_request_tells(desk):
    desk.click("s", 7, "https://example.com/?a=b", secure=True, headers=((b"accept", b"*/*"),))
    (happening,) = desk.settle()
    assert happening[:4] == (EventKind.CLICK, START, "s", 7)
    assert happening.data == {
        "ip": "192.0.2.7",
        "headers": f"user-agent: {FIREFOX[1].decode()}\naccept: */*",
        "protocol": "https",
        "destination": "https://example.com/?a=b",
    }
    assert desk.counted("events_recorded") == 1 and desk.counted("events_lost") == 0


def test_nothing_is_written_before_it_was_gathered(desk):
    desk.click()
    desk.clock.advance(GATHER)
    assert not desk.journal.happenings
    desk.clock.advance(GATHER)
    assert len(desk.journal.happenings) == 1
    assert not desk.clock.getDelayedCalls()


def test_secrets_and_controls_are_not_kept(desk):
    secrets = [(b"cookie", b"s3cret"), (b"authorization", b"s3cret"), (b"proxy-authorization", b"s3cret")]
    desk.click(headers=(*secrets, (b"x-a", b"1\x1b[2J\x00\r2\x7f"), (b"x-b", b"\xff\xfe")))
    text = desk.settle()[0].data["headers"]
    assert "s3cret" not in text and "x-a: 1 [2J  2 " in text
    assert text.replace("\n", "").isprintable()
    json.dumps(text).encode("utf-8")


def test_a_long_request_is_cut(desk):
    desk.click(headers=((b"x-long", b"\xc3\xa9" * 10_000),))
    assert len(desk.settle()[0].data["headers"].encode()) <= HEADERS + 3


@pytest.mark.parametrize(
    ("request_", "delivered", "reasons"),
    [
        ({}, 1.0, None),
        ({"method": "HEAD"}, 1.0, "head"),
        ({"headers": ((b"purpose", b"prefetch"),)}, 1.0, "prefetch"),
        ({}, None, "before-delivery"),
        ({}, START + 1, "before-delivery"),
        ({}, START - 1, "at-delivery"),
        ({"method": "HEAD"}, START - 1, "head;at-delivery"),
    ],
)
def test_what_a_machine_did_is_marked_and_kept(desk, request_, delivered, reasons):
    desk.journal.delivered["s"] = delivered
    desk.click(**request_)
    assert desk.settle()[0].data.get("machine") == reasons


def test_all_links_at_once(desk):
    for link in "abc":
        desk.click("s", 1, link)
    desk.click("s", 2, "a")
    desk.click("s", 2, "b")
    desk.click("s", 2, "b")
    desk.settle()
    reasons = [(each.number, each.data.get("machine")) for each in desk.journal.happenings]
    assert reasons == [(1, "all-links")] * 3 + [(2, None)] * 3


def test_all_links_at_once_across_two_turns(desk):
    desk.click("other")
    desk.clock.advance(GATHER - 0.1)
    desk.click("s", 1, "a")
    desk.clock.advance(0.2)
    desk.click("s", 1, "b")
    desk.click("s", 1, "c")
    desk.settle()
    desk.settle()
    reasons = [each.data.get("machine") for each in desk.journal.happenings if each.submission == "s"]
    assert reasons == ["all-links"] * 3


def test_a_person_clicks_several_links_one_after_the_other(desk):
    for link in "abcdef":
        desk.click("s", 1, link)
        desk.clock.advance(GATHER / 2)
    desk.settle()
    assert [each.data.get("machine") for each in desk.journal.happenings] == [None] * 6


def test_opens_are_no_links(desk):
    for _ in range(5):
        desk.click(kind=EventKind.OPEN)
    assert {each.data.get("machine") for each in desk.settle()} == {None}


def test_events_of_messages_that_are_gone_are_no_loss(desk):
    desk.journal.gone.add("gone")
    desk.click("gone")
    desk.click("s")
    assert [each.submission for each in desk.settle()] == ["s"]
    assert desk.counted("events_recorded") == 1 and desk.counted("events_lost") == 0


def test_chunks_are_small(desk):
    for number in range(CHUNK * 3 + 1):
        desk.click("s", number)
    desk.settle()
    assert max(desk.journal.sizes) <= CHUNK
    assert sorted(each.number for each in desk.journal.happenings) == list(range(CHUNK * 3 + 1))


def test_few_chunks_are_under_way_at_a_time(desk):
    desk.journal.slow = []
    for number in range(CHUNK * 5):
        desk.click("s", number)
    desk.settle()
    assert len(desk.journal.sizes) == WRITERS
    desk.journal.go_on()
    assert len(desk.journal.happenings) == CHUNK * 5


def test_events_become_ready_little_by_little(desk):
    for number in range(10):
        desk.click("s", number)
        desk.clock.advance(STEP)
    desk.clock.advance(GATHER - 8.5 * STEP)
    assert 0 < len(desk.journal.happenings) < 10
    desk.settle()
    assert [each.number for each in desk.journal.happenings] == list(range(10))
    assert not desk.clock.getDelayedCalls()


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind not in (EventKind.CLICK, EventKind.OPEN)])
def test_attack_a_feature_writes_no_other_kinds(desk, kind):
    with pytest.raises(ValueError, match="clicks and opens"):
        desk.click(kind=kind)
    assert not desk.settle() and not desk.clock.getDelayedCalls()
    assert desk.counted("events_lost") == 0


# --- more comes than is written ---


def test_the_recorder_is_behind_until_there_is_room_again():
    desk = Desk(capacity=100_000)
    desk.journal.slow = []
    desk.click("s", 0)
    desk.clock.advance(STEP)
    number = 1
    while not desk.recorder.is_behind():
        desk.click("s", number)
        number += 1
    assert 50 < number < 90
    desk.settle()
    assert desk.recorder.is_behind(), "what is being written is not written yet"
    desk.journal.go_on()
    assert not desk.recorder.is_behind()
    assert desk.counted("events_lost") == 0 and len(desk.journal.happenings) == number


@pytest.mark.parametrize("says_so", [True, False])
def test_nobody_waits_for_a_store_that_fails(says_so):
    desk = Desk(capacity=100_000)
    if says_so:
        desk.journal.error = StorageUnavailable("locked")
    else:
        desk.journal.slow = []
    desk.click("s", 0)
    desk.clock.advance(STEP)
    number = 1
    while not desk.recorder.is_behind():
        desk.click("s", number)
        number += 1
    desk.settle()
    if not says_so:
        assert desk.recorder.is_behind()
        desk.clock.advance(STALL)
    assert not desk.recorder.is_behind()
    for number in range(100):
        desk.click("t", number)
    assert desk.counted("events_lost") > 0, "redirects go on, and what is lost is counted"


# --- the store is down ---


def test_while_the_store_is_down_events_wait(desk, log):
    desk.journal.error = StorageUnavailable("locked")
    for number in range(CHUNK + 10):
        desk.click("s", number)
    desk.settle()
    desk.clock.pump([RETRY] * 5)
    assert not desk.journal.happenings
    desk.journal.error = None
    desk.clock.advance(RETRY)
    assert sorted(each.number for each in desk.journal.happenings) == list(range(CHUNK + 10))
    assert desk.counted("events_lost") == 0
    assert not log
    assert not desk.clock.getDelayedCalls()


def test_what_has_no_room_is_counted_and_said_once(log):
    desk = Desk(capacity=10_000)
    desk.journal.error = StorageUnavailable("locked")
    for number in range(100):
        desk.click("s", number)
    desk.settle()
    kept = 100 - desk.counted("events_lost")
    assert 5 < kept < 10
    assert not log
    desk.journal.error = None
    desk.clock.advance(RETRY)
    assert len(desk.journal.happenings) == kept
    (event,) = log
    assert event["event"] == "events-lost" and event["count"] == 100 - kept
    desk.click("s", 200)
    desk.settle()
    assert len(desk.journal.happenings) == kept + 1, "there is room again"
    assert len(log) == 1


def test_one_event_that_cannot_be_written_takes_no_others_with_it(desk, log):
    desk.click("s", 1)
    desk.recorder.record(EventKind.CLICK, "s", 2, {"broken": 1}, WebRequest("GET", "", "", (), "", START))
    desk.click("s", 3)
    assert [each.number for each in desk.settle()] == [1, 3]
    assert desk.counted("events_lost") == 1
    assert [each.get("event") for each in log] == [None, "events-lost"]


def test_the_store_fails_while_they_are_written_one_by_one(desk):
    desk.recorder.record(EventKind.CLICK, "s", 1, {"broken": 1}, WebRequest("GET", "", "", (), "", START))
    for number in (2, 3, 4):
        desk.click("s", number)
    record = desk.journal.record

    def failing(happenings):
        if [each.number for each in happenings] == [3]:
            desk.journal.error = StorageUnavailable("full")
        return record(happenings)

    desk.journal.record = failing
    desk.settle()
    assert [each.number for each in desk.journal.happenings] == [2]
    desk.journal.error, desk.journal.record = None, record
    desk.clock.advance(RETRY)
    assert [each.number for each in desk.journal.happenings] == [2, 3, 4]
    assert desk.counted("events_lost") == 1


def test_attack_one_link_over_and_over_does_not_fill_the_store(desk):
    for _ in range(MOST_OF_ONE * 5):
        desk.click("s", 1)
    desk.click("s", 2)
    assert len(desk.settle()) == MOST_OF_ONE + 1
    assert desk.counted("events_lost") == MOST_OF_ONE * 4
    desk.click("s", 1)
    assert len(desk.settle()) == MOST_OF_ONE + 2


# --- the end ---


def test_the_end_writes_what_there_is(desk):
    desk.click("s", 1)
    desk.clock.advance(GATHER)
    desk.click("s", 2)
    assert desk.recorder.stop().called
    assert [each.number for each in desk.journal.happenings] == [1, 2]
    assert not desk.clock.getDelayedCalls()
    desk.click("s", 3)
    assert desk.counted("events_lost") == 1 and not desk.clock.getDelayedCalls()


def test_the_end_with_nothing_to_write(desk):
    assert desk.recorder.stop().called
    assert not desk.clock.getDelayedCalls()


def test_the_end_waits_for_what_is_being_written(desk):
    desk.journal.slow = []
    desk.click()
    desk.settle()
    stopped = desk.recorder.stop()
    assert not stopped.called
    desk.journal.go_on()
    assert stopped.called
    assert not desk.clock.getDelayedCalls()


def test_the_end_waits_for_the_store_to_come_back(desk):
    desk.journal.error = StorageUnavailable("locked")
    desk.click()
    stopped = desk.recorder.stop()
    desk.clock.advance(RETRY)
    assert not stopped.called
    desk.journal.error = None
    desk.clock.advance(RETRY)
    assert stopped.called and len(desk.journal.happenings) == 1


def test_the_end_does_not_wait_for_ever(desk, log):
    desk.journal.error = StorageUnavailable("locked")
    for number in range(3):
        desk.click("s", number)
    stopped = desk.recorder.stop()
    desk.clock.pump([1.0] * int(STOP + 1))
    assert stopped.called
    assert desk.counted("events_lost") == 3
    assert [each["count"] for each in log] == [3]
    assert not desk.clock.getDelayedCalls()
